-- Billing rules, section 6: the credit state before a customer's first draft, from its closed invoices. A row is a grant and the
-- month in which it was used, with the credit that is used and not given back; the row without a grant has the carry-forward.
with

closed_application_sums as (

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

carry_forward_sums as (

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
    closed_application_sums.grant_id,
    closed_application_sums.application_period,
    closed_application_sums.amount
from accounts
inner join closed_application_sums
    on
        accounts.customer_id = closed_application_sums.customer_id
        and accounts.currency = closed_application_sums.currency

union all

select
    accounts.customer_id,
    accounts.currency,
    0 as open_number,
    '' as grant_id,
    '' as application_period,
    coalesce(carry_forward_sums.amount, cast(0 as decimal(18, 3))) as amount
from accounts
left join carry_forward_sums
    on
        accounts.customer_id = carry_forward_sums.customer_id
        and accounts.currency = carry_forward_sums.currency
