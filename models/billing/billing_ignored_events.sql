{{ config(alias='ignored_events') }}
with

ignored as (

    select
        event_id,
        customer_id,
        sandbox_id,
        execution_id,
        event_at,
        event_type,
        reason,
        vcpu_count,
        memory_gb,
        storage_gb,
        gpu_count,
        tokens,
        is_quantity_billed,
        voided_at,
        void_reason,
        file_id,
        file_row
    from {{ ref('ignored_events') }}

    union all

    select
        event_id,
        customer_id,
        sandbox_id,
        execution_id,
        event_at,
        event_type,
        'before_books_open' as reason,
        vcpu_count,
        memory_gb,
        storage_gb,
        gpu_count,
        tokens,
        false as is_quantity_billed,
        cast(null as timestamp) as voided_at,
        cast(null as string) as void_reason,
        file_id,
        file_row
    from {{ ref('events_before_books') }}

)

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
from ignored
inner join {{ ref('stg_landed_files') }} as files on ignored.file_id = files.file_id
