-- What does each sandbox cost?
-- At list rates, before allowances, tiers, credit and rounding, which apply to a month and not to one sandbox.
select
    customer_id,
    sandbox_id,
    currency,
    count(*) as sessions,
    round(sum(duration_microseconds) / 3600000000, 2) as hours,
    sum(list_amount) as list_amount
from billing.sessions
group by customer_id, sandbox_id, currency
order by list_amount desc, sandbox_id
limit 20
