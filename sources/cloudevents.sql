-- description: CloudEvents 1.0 whose type is a usage event
-- reads: one event a row, or a batch: a list of events
-- kind: usage
--
-- The type is sandbox.started, sandbox.stopped, resources.updated, usage.recorded and so on, also after a prefix as in
-- com.example.sandbox.started. The subject is the customer, and the data are the fields of a usage event.
with

events as (

    select
        file_row,
        unnest(case when json_type(row) = 'ARRAY' then json_extract(row, '$[*]') else [row] end) as event
    from rows

)

select
    file_row,
    -- The standard: an id is unique for its source.
    (event ->> '$.source') || '/' || (event ->> '$.id') as event_id,
    event -> '$.data.sandbox_id' as sandbox_id,
    event -> '$.subject' as user_id,
    event ->> '$.time' as timestamp,
    replace(regexp_replace(event ->> '$.type', '^.*[.](sandbox|resources|usage)[.]', '\1_'), '.', '_') as event_type,
    event -> '$.data.execution_id' as execution_id,
    event ->> '$.data.vcpu_count' as vcpu_count,
    event ->> '$.data.memory_gb' as memory_gb,
    event ->> '$.data.storage_gb' as storage_gb,
    event ->> '$.data.gpu_count' as gpu_count,
    event ->> '$.data.tokens' as tokens,
    event ->> '$.data.started_at' as started_at,
    event ->> '$.data.duration_seconds' as duration_seconds,
    event -> '$.data.metadata' as metadata
from events
