-- How many sandboxes run at once, day by day?
-- The average over each day, all customers together, and the highest peak of one customer. The running day's average is over its
-- time so far.
with build as (
    select max(as_of) as as_of
    from billing.customer_balances
)

select
    days.usage_date,
    cast(
        sum(days.sandbox_seconds) * 1000000
        / least(86400000000, date_diff('microsecond', cast(days.usage_date as timestamp) at time zone 'UTC', build.as_of))
        as decimal(18, 1)
    ) as average_sandboxes,
    max(days.peak_sandboxes) as highest_peak_of_a_customer,
    count(*) as customers
from billing.concurrency_daily as days
cross join build
group by days.usage_date, build.as_of
order by days.usage_date
