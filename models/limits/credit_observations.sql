-- Billing rules, section 8: the credit that a customer has used, at each month's end (in the running month: at as_of), with the month before
-- for comparison. Expired grants count neither as given nor as used.
with

credit_by_month as (

    select
        customer_id,
        currency,
        period,
        sum(case when is_expired then 0 else amount end) as given_amount,
        sum(case when is_expired then 0 else amount - closing_amount end) as used_amount
    from {{ ref('credit_months') }}
    group by customer_id, currency, period

)

select
    months.customer_id,
    'credit' as limit_kind,
    months.period,
    cast(months.given_amount as decimal(38, 12)) as allowed,
    cast(months.used_amount as decimal(38, 12)) as observed,
    months.currency as unit,
    least(build.as_of, cast(months.period || '-01 00:00:00' as timestamp) + interval 1 month) as observed_at,
    cast(lag(months.given_amount) over timeline as decimal(38, 12)) as allowed_before,
    cast(lag(months.used_amount) over timeline as decimal(38, 12)) as observed_before
from credit_by_month as months
cross join {{ ref('stg_build_inputs') }} as build
window timeline as (partition by months.customer_id, months.currency order by months.period)
