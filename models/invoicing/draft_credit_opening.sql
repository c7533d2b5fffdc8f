-- Billing rules, section 6: the customer's credits before its first open invoice: what the closed invoices left. A row is what an
-- application (a grant used in a month) still amounts to; the row without a grant is what is carried forward to the next invoice.
with

closed_applications as (

    select
        customer_id,
        currency,
        grant_id,
        application_period,
        cast(sum(amount) as decimal(18, 3)) as amount
    from {{ ref('stg_credit_applications') }}
    group by customer_id, currency, grant_id, application_period
    having sum(amount) > 0

),

carried_at_closes as (

    select
        customer_id,
        currency,
        cast(sum(amount) as decimal(18, 3)) as amount
    from (
        select
            customer_id,
            currency,
            carried_forward_amount as amount
        from {{ ref('stg_closed_invoices') }}
        union all
        select
            customer_id,
            currency,
            -amount as amount
        from {{ ref('stg_billed_lines') }}
        where line_type = 'carry_forward'
    ) as carried
    group by customer_id, currency

),

accounts as (

    select distinct
        customer_id,
        currency
    from {{ ref('draft_subtotals') }}

)

select
    accounts.customer_id,
    accounts.currency,
    0 as open_number,
    closed_applications.grant_id,
    closed_applications.application_period,
    closed_applications.amount
from accounts
inner join closed_applications
    on
        accounts.customer_id = closed_applications.customer_id
        and accounts.currency = closed_applications.currency

union all

select
    accounts.customer_id,
    accounts.currency,
    0 as open_number,
    '' as grant_id,
    '' as application_period,
    coalesce(carried_at_closes.amount, cast(0 as decimal(18, 3))) as amount
from accounts
left join carried_at_closes
    on
        accounts.customer_id = carried_at_closes.customer_id
        and accounts.currency = carried_at_closes.currency
