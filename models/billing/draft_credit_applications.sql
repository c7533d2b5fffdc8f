-- Billing rules, section 6: what of each customer's credit its open invoices would use, as if they were closed in order.
-- A grant of scope `usage` pays for usage lines alone, and never takes an invoice below zero.
with

eligible as (

    select
        invoice_id,
        customer_id,
        period,
        currency,
        greatest(
            least(
                sum(case when line_type = 'usage' then amount else 0 end),
                sum(amount)
            ),
            0
        ) as eligible_amount
    from {{ ref('draft_invoice_lines') }}
    group by invoice_id, customer_id, period, currency

),

applied_at_closes as (

    select
        grant_id,
        sum(amount) as amount
    from {{ ref('stg_credit_applications') }}
    group by grant_id

),

-- What is left of the grant, and what the open invoices before this one could have used of it.
waterfall as (

    select
        grants.grant_id,
        eligible.invoice_id,
        eligible.customer_id,
        eligible.period,
        eligible.currency,
        grants.source,
        eligible.eligible_amount,
        grants.amount - coalesce(applied_at_closes.amount, 0) as remaining_amount,
        sum(eligible.eligible_amount) over (
            partition by grants.grant_id order by eligible.period
            rows between unbounded preceding and current row
        ) - eligible.eligible_amount as used_before_amount
    from {{ ref('signup_grants') }} as grants
    inner join eligible
        on
            grants.customer_id = eligible.customer_id
            and grants.currency = eligible.currency
    left join applied_at_closes on grants.grant_id = applied_at_closes.grant_id

),

applied as (

    select
        grant_id,
        invoice_id,
        customer_id,
        period,
        currency,
        source,
        cast(
            greatest(least(remaining_amount - used_before_amount, eligible_amount), 0) as decimal(18, 3)
        ) as amount
    from waterfall

)

select * from applied
where amount > 0
