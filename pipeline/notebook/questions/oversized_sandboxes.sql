-- Which sandboxes are larger than they need to be?
-- Over all days with samples for at least half of the billed time; the size that fits is the largest of the days. A resize to it saves
-- at least what it saves on the days that need that size, and at most what each day's own size would save. How it is computed, and
-- its limits: docs/internals/utilisation.md
with days as (
    select
        *,
        max(fitting_vcpu_count) over sandboxes as vcpus_that_fit,
        max(fitting_memory_gb) over sandboxes as memory_gb_that_fits
    from billing.utilisation_daily
    where sampled_minutes * 60 >= billed_seconds / 2
    window sandboxes as (partition by customer_id, sandbox_id, currency)
)

select
    customer_id,
    sandbox_id,
    coalesce(
        sum(list_amount - fitting_list_amount) filter (
            where fitting_vcpu_count = vcpus_that_fit and fitting_memory_gb = memory_gb_that_fits
        ), 0
    ) as saves_at_least_amount,
    sum(list_amount - fitting_list_amount) as saves_at_most_amount,
    sum(list_amount) as list_amount,
    currency,
    cast(sum(vcpu_seconds) / sum(billed_seconds) as decimal(18, 2)) as average_vcpus_held,
    vcpus_that_fit,
    cast(sum(memory_gb_seconds) / sum(billed_seconds) as decimal(18, 2)) as average_memory_gb_held,
    memory_gb_that_fits,
    count(*) as days,
    min(usage_date) as first_day,
    max(usage_date) as last_day
from days
group by all
order by saves_at_least_amount desc, saves_at_most_amount desc, sandbox_id, customer_id
limit 20
