-- The quantity of each meter that a customer used on each day, by what it is priced with.
select
    customer_id,
    period,
    usage_date,
    currency,
    plan_id,
    meter_id,
    rate_id,
    cast(sum(quantity) as decimal(38, 12)) as quantity
from {{ ref('priced_segments') }}
group by customer_id, period, usage_date, currency, plan_id, meter_id, rate_id
