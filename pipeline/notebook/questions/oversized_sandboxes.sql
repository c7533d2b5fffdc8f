-- Which sandboxes are larger than they need to be?
-- Over all days with samples for at least half of the billed time; the size that fits is the largest of the days. How it is computed,
-- and its limits: docs/internals/utilisation.md
select
    customer_id,
    sandbox_id,
    currency,
    count(*) as days,
    round(sum(vcpu_seconds) / sum(billed_seconds), 2) as average_vcpus_held,
    max(fitting_vcpu_count) as vcpus_that_fit,
    round(sum(memory_gb_seconds) / sum(billed_seconds), 2) as average_memory_gb_held,
    max(fitting_memory_gb) as memory_gb_that_fits,
    sum(list_amount) as list_amount,
    sum(list_amount) - sum(fitting_list_amount) as could_save_amount
from billing.utilisation_daily
where sampled_minutes * 60 >= billed_seconds / 2
group by customer_id, sandbox_id, currency
order by could_save_amount desc, sandbox_id
limit 20
