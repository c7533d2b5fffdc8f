{{ config(alias='ignored_events') }}
select
    ignored.event_id,
    ignored.customer_id,
    ignored.sandbox_id,
    nullif(ignored.execution_id, '') as execution_id,
    {{ from_utc('ignored.event_at') }} as event_at,
    ignored.event_type,
    ignored.reason,
    ignored.vcpu_count,
    ignored.memory_gb,
    ignored.storage_gb,
    ignored.gpu_count,
    ignored.tokens,
    ignored.is_quantity_billed,
    {{ from_utc('ignored.voided_at') }} as voided_at,
    ignored.void_reason,
    files.file_name,
    ignored.file_row
from {{ ref('ignored_events') }} as ignored
inner join {{ ref('stg_landed_files') }} as files on ignored.file_id = files.file_id
