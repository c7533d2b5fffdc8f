-- What does each sandbox cost?
-- At list rates, before allowances, tiers, credit and rounding, which apply to a month and not to one sandbox.
select
    customer_id,
    sandbox_id,
    currency,
    count(*) as sessions,
    -- Hundredths of an hour, rounded half up: whole numbers, since a division gives a binary number.
    ((sum(duration_microseconds) + 18000000) // 36000000) * 0.01 as hours,
    sum(list_amount) as list_amount
from billing.sessions
group by customer_id, sandbox_id, currency
order by list_amount desc, sandbox_id
limit 20
