-- A row of seeds/plans.csv holds from its valid_from until the plan's next row.
select
    plan_id,
    plan_name,
    collection,
    max_session_seconds,
    max_concurrent_sandboxes,
    default_vcpu_count,
    default_memory_gb,
    default_storage_gb,
    {{ to_utc('valid_from') }} as starts_at,
    coalesce(
        lead({{ to_utc('valid_from') }}) over (partition by plan_id order by valid_from),
        {{ end_of_time() }}
    ) as ends_at
from {{ ref('plans') }}
