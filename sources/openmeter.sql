-- description: OpenMeter's usage events that carry tokens
-- reads: CloudEvents as OpenMeter ingests them, one a row, or a batch: a list of events
-- kind: usage
--
-- The subject is the customer. An event without a sandbox belongs to a sandbox with the customer's id. An event without tokens goes to
-- quarantine: sandboxes' starts and stops as CloudEvents are read by the source cloudevents.
with

events as (

    select
        file_row,
        unnest(case when json_type(row) = 'ARRAY' then json_extract(row, '$[*]') else [row] end) as event
    from rows

)

select
    file_row,
    (event ->> '$.source') || '/' || (event ->> '$.id') as event_id,
    coalesce(event -> '$.data.sandbox_id', event -> '$.subject') as sandbox_id,
    event -> '$.subject' as user_id,
    event ->> '$.time' as timestamp,
    'usage_recorded' as event_type,
    coalesce(event ->> '$.data.tokens', event ->> '$.data.total_tokens') as tokens
from events
