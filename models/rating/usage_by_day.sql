-- The quantity of each meter that a customer used on each day, by what it is priced with.
with

summed as (

    select
        customer_id,
        period,
        usage_date,
        currency,
        plan_id,
        meter_id,
        rate_id,
        sum(unit_microseconds) as unit_microseconds
    from {{ ref('priced_segments') }}
    group by customer_id, period, usage_date, currency, plan_id, meter_id, rate_id

)

select
    customer_id,
    period,
    usage_date,
    currency,
    plan_id,
    meter_id,
    rate_id,
    {{ to_unit_seconds('unit_microseconds') }} as quantity
from summed
where unit_microseconds > 0
