-- What would smaller sizes save each customer?
-- At most, if each sandbox had each day the size that fits that day: vCPU and memory at list rates, of days with samples for at least
-- half of the billed time. How it is computed, and its limits: docs/internals/utilisation.md
select
    customer_id,
    currency,
    count(distinct sandbox_id) as sandboxes,
    sum(list_amount) as list_amount,
    sum(fitting_list_amount) as fitting_list_amount,
    sum(list_amount) - sum(fitting_list_amount) as could_save_at_most_amount,
    cast(100 * (sum(list_amount) - sum(fitting_list_amount)) / nullif(sum(list_amount), 0) as decimal(18, 1)) as could_save_percent
from billing.utilisation_daily
where sampled_minutes * 60 >= billed_seconds / 2
group by customer_id, currency
order by could_save_at_most_amount desc, customer_id
limit 20
