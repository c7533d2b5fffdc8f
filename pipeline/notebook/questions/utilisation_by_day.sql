-- How much of the vCPU and memory that customers hold do they use?
-- Of all sandboxes with samples, weighted by the sampled minutes.
select
    usage_date,
    count(distinct sandbox_id) as sandboxes,
    cast(
        100 * sum(average_vcpus_used * sampled_minutes) / nullif(sum(vcpu_seconds / billed_seconds * sampled_minutes), 0)
        as decimal(18, 1)
    ) as cpu_used_percent,
    cast(
        100 * sum(average_memory_gb_used * sampled_minutes) / nullif(sum(memory_gb_seconds / billed_seconds * sampled_minutes), 0)
        as decimal(18, 1)
    ) as memory_used_percent
from billing.utilisation_daily
group by usage_date
order by usage_date
