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

-- Plans and months in which something agreed with the customer collects: the plan itself, or a contract in force.
collecting_plans as (

    select distinct
        terms.customer_id,
        terms.plan_id,
        lines.service_period
    from {{ ref('draft_invoice_lines') }} as lines
    inner join {{ ref('customer_terms') }} as terms
        on
            lines.customer_id = terms.customer_id
            and lines.plan_id = terms.plan_id
            and cast(lines.service_period || '-01 00:00:00' as timestamp) < terms.ends_at
            and terms.starts_at < cast(lines.service_period || '-01 00:00:00' as timestamp) + interval 1 month
    where terms.collection <> 'none'

),

-- Billing rules, section 7: which lines collect. A negative line has nothing to collect; what is carried forward has no plan.
line_collections as (

    select
        lines.invoice_id,
        lines.line_id,
        lines.plan_id,
        lines.amount,
        case
            when lines.amount < 0 then 0
            when lines.line_type in ('discount', 'commitment') then 1
            when prices.contract_id is not null then 1
            when collecting_plans.plan_id is not null then 1
            else 0
        end as collects
    from {{ ref('draft_invoice_lines') }} as lines
    left join collecting_plans
        on
            lines.customer_id = collecting_plans.customer_id
            and lines.plan_id = collecting_plans.plan_id
            and lines.service_period = collecting_plans.service_period
    left join {{ ref('price_versions') }} as prices on lines.rate_id = prices.price_id
    where lines.line_type <> 'carry_forward'

),

ranked_lines as (

    select
        invoice_id,
        plan_id,
        collects,
        row_number() over (partition by invoice_id order by collects desc, amount desc, plan_id asc, line_id asc) as line_rank
    from line_collections

)

select
    invoices.invoice_id,
    invoices.customer_id,
    invoices.period,
    invoices.currency,
    main_lines.plan_id,
    case when main_lines.collects = 1 then 'send_invoice' else 'none' end as collection,
    invoices.subtotal_amount,
    coalesce(credit_sums.credits_applied_amount, cast(0 as decimal(18, 3))) as credits_applied_amount,
    coalesce(carried.carried_forward_amount, cast(0 as decimal(18, 3))) as carried_forward_amount,
    cast(
        invoices.subtotal_amount
        - coalesce(credit_sums.credits_applied_amount, 0)
        - coalesce(carried.carried_forward_amount, 0) as decimal(18, 3)
    ) as total_amount,
    invoices.line_count,
    currencies.minor_unit_digits,
    accounts.name as customer_name,
    accounts.email as customer_email,
    accounts.stripe_customer_id
from line_sums as invoices
inner join {{ ref('currency_units') }} as currencies on invoices.currency = currencies.currency
left join credit_sums on invoices.invoice_id = credit_sums.invoice_id
left join carried on invoices.invoice_id = carried.invoice_id
left join ranked_lines as main_lines
    on
        invoices.invoice_id = main_lines.invoice_id
        and main_lines.line_rank = 1
left join {{ ref('customer_accounts') }} as accounts on invoices.customer_id = accounts.customer_id
