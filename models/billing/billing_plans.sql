select
    plan_id,
    plan_name,
    collection,
    max_session_seconds,
    max_concurrent_sandboxes,
    default_vcpu_count,
    default_memory_gb,
    default_storage_gb,
    {{ from_utc('starts_at') }} as starts_at,
    case when ends_at < {{ end_of_time() }} then {{ from_utc('ends_at') }} end as ends_at
from {{ ref('plan_versions') }}
