-- How many sandboxes ran at once, compared with the limit?
-- The highest peak of each customer, with the limit of that day.
select
    customer_id,
    peak_sandboxes as most_at_once,
    max_concurrent_sandboxes as allowed,
    peak_at as at,
    -- Tenths of an hour, rounded half up: whole numbers, since a division gives a binary number.
    (cast(floor(sum(over_limit_seconds) over (partition by customer_id) + 180) as hugeint) // 360) * 0.1 as hours_over_the_limit
from billing.concurrency_daily
qualify row_number() over (partition by customer_id order by peak_sandboxes desc, peak_at) = 1
order by most_at_once desc, customer_id
limit 20
