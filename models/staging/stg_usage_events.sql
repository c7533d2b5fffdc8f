-- A file's rows count from the moment its row in landed_files is there, and never before: that row is the commit.
select
    event_id,
    sandbox_id,
    -- One run of a sandbox; '' where the collector names none, so that windows and joins need no null logic.
    coalesce(execution_id, '') as execution_id,
    user_id as customer_id,
    {{ to_utc('event_at') }} as event_at,
    event_type,
    vcpu_count,
    memory_gb,
    storage_gb,
    gpu_count,
    tokens,
    file_id,
    file_row
from {{ landed('raw/usage_events') }}
where file_id in (select file_id from {{ ref('stg_landed_files') }})
