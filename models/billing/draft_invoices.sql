-- Billing rules, section 7: the live preview of every invoice that is not closed yet.
with

line_sums as (

    select
        invoice_id,
        customer_id,
        period,
        currency,
        cast(sum(amount) as decimal(18, 3)) as subtotal_amount,
        cast(count(*) as integer) as line_count
    from {{ ref('draft_invoice_lines') }}
    group by invoice_id, customer_id, period, currency

),

credit_sums as (

    select
        invoice_id,
        cast(sum(amount) as decimal(18, 3)) as credits_applied_amount
    from {{ ref('draft_credit_applications') }}
    group by invoice_id

),

-- What of a negative invoice no credit could take up goes to the next one.
carried as (

    select
        {{ invoice_id('subtotals.period', 'subtotals.customer_id', 'subtotals.currency') }} as invoice_id,
        states.amount as carried_forward_amount
    from {{ ref('draft_credit_states') }} as states
    inner join {{ ref('draft_subtotals') }} as subtotals
        on
            states.customer_id = subtotals.customer_id
            and states.currency = subtotals.currency
            and states.open_number = subtotals.open_number
    where states.grant_id = ''

),

with_period_end as (

    select
        line_sums.*,
        coalesce(carried.carried_forward_amount, cast(0 as decimal(18, 3))) as carried_forward_amount,
        coalesce(credit_sums.credits_applied_amount, cast(0 as decimal(18, 3))) as credits_applied_amount,
        cast(line_sums.period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 microsecond
            as last_instant_at
    from line_sums
    left join credit_sums on line_sums.invoice_id = credit_sums.invoice_id
    left join carried on line_sums.invoice_id = carried.invoice_id

)

select
    invoices.invoice_id,
    invoices.customer_id,
    invoices.period,
    invoices.currency,
    -- The plan at the month's end says whether the invoice is collected.
    terms.plan_id,
    coalesce(terms.collection, 'none') as collection,
    invoices.subtotal_amount,
    invoices.credits_applied_amount,
    invoices.carried_forward_amount,
    cast(
        invoices.subtotal_amount - invoices.credits_applied_amount - invoices.carried_forward_amount as decimal(18, 3)
    ) as total_amount,
    invoices.line_count,
    currencies.minor_unit_digits,
    accounts.name as customer_name,
    accounts.email as customer_email,
    accounts.stripe_customer_id
from with_period_end as invoices
inner join {{ ref('currency_units') }} as currencies on invoices.currency = currencies.currency
left join {{ ref('customer_terms') }} as terms
    on
        invoices.customer_id = terms.customer_id
        and invoices.last_instant_at >= terms.starts_at
        and invoices.last_instant_at < terms.ends_at
left join {{ ref('customer_accounts') }} as accounts on invoices.customer_id = accounts.customer_id
