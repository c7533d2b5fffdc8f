-- What is the usage of each day worth?
-- The days of a month sum to its due usage lines, before discount and credit.
select
    usage_date,
    meter_id as meter,
    currency,
    sum(amount) as amount
from billing.usage_daily
group by all
order by all
