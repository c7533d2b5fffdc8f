-- What does each sandbox cost?
-- At list rates, before allowances, tiers, credit and rounding, which apply to a month and not to one sandbox.
select
    customer_id,
    sandbox_id,
    currency,
    count(*) as sessions,
    cast(sum(duration_microseconds) / 3600000000 as decimal(18, 2)) as hours,
    sum(list_amount) as list_amount
from billing.sessions
group by customer_id, sandbox_id, currency
order by list_amount desc, sandbox_id
limit 20
