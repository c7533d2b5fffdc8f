-- How many sandboxes run at once, day by day?
-- The average over each day, all customers together, and the highest peak of one customer.
select
    usage_date,
    round(sum(sandbox_seconds) / 86400, 1) as average_sandboxes,
    max(peak_sandboxes) as highest_peak_of_a_customer,
    count(*) as customers
from billing.concurrency_daily
group by usage_date
order by usage_date
