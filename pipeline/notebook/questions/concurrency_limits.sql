-- How many sandboxes ran at once, compared with the limit?
select
    customer_id,
    max(peak_sandboxes) as most_at_once,
    max(max_concurrent_sandboxes) as allowed,
    arg_max(peak_at, peak_sandboxes) as at,
    round(sum(over_limit_seconds) / 3600, 1) as hours_over_the_limit
from billing.concurrency_daily
group by customer_id
order by most_at_once desc, customer_id
limit 20
