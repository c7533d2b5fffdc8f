-- How much of the vCPU and memory that customers hold do they use?
-- Of all sandboxes with samples, weighted by the sampled minutes. sampled_vcpu_percent is the share of the day's vCPU-seconds, of all
-- customers, that these minutes have: of the rest nothing is known.
with days as (
    select
        usage_date,
        count(distinct sandbox_id) as sandboxes,
        sum(average_vcpus_used * sampled_minutes) as vcpus_used,
        sum(vcpu_seconds / billed_seconds * sampled_minutes) as vcpus_held,
        sum(average_memory_gb_used * sampled_minutes) as memory_gb_used,
        sum(memory_gb_seconds / billed_seconds * sampled_minutes) as memory_gb_held
    from billing.utilisation_daily
    group by usage_date
),

usages as (
    select
        usage_date,
        sum(quantity) as vcpu_seconds
    from billing.usage_daily
    where meter_id = 'vcpu'
    group by usage_date
)

select
    days.usage_date,
    days.sandboxes,
    cast(100 * days.vcpus_used / nullif(days.vcpus_held, 0) as decimal(18, 1)) as cpu_used_percent,
    cast(100 * days.memory_gb_used / nullif(days.memory_gb_held, 0) as decimal(18, 1)) as memory_used_percent,
    -- Held for a part of a minute is counted for all of it.
    cast(least(100, 100 * 60 * days.vcpus_held / nullif(usages.vcpu_seconds, 0)) as decimal(18, 1)) as sampled_vcpu_percent
from days
left join usages using (usage_date)
order by days.usage_date
