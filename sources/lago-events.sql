-- description: Lago's events that carry seconds of a sandbox, or tokens
-- reads: rows as they are sent to POST /events, or a batch: {"events": [...]}
-- kind: usage
--
-- The customer is the subscription. An event with seconds is a session of its own, which ended at its timestamp; a resource that it does not
-- name is 0 (not the plan's default). An event with tokens and without seconds is a quantity alone.
with

events as (

    select
        file_row,
        unnest(case when json_type(row, '$.events') = 'ARRAY' then json_extract(row, '$.events[*]') else [row] end) as event
    from rows

),

usage_events as (

    select
        file_row,
        event ->> '$.transaction_id' as id,
        event -> '$.external_subscription_id' as subscription_id,
        event ->> '$.timestamp' as event_at,
        event -> '$.properties' as properties,
        event ->> '$.properties.seconds' as seconds
    from events

)

select
    file_row,
    id as event_id,
    coalesce(properties -> '$.sandbox_id', subscription_id) as sandbox_id,
    subscription_id as user_id,
    case
        when regexp_full_match(event_at, '[0-9]+([.][0-9]+)?')
            then cast(make_timestamptz(cast(trunc(cast(event_at as decimal(30, 9)) * 1000000) as bigint)) as varchar)
        else event_at
    end as timestamp,
    case when seconds is null then 'usage_recorded' else 'sandbox_stopped' end as event_type,
    case when seconds is not null then id end as execution_id,
    seconds as duration_seconds,
    case when seconds is not null then coalesce(properties ->> '$.vcpu', '0') end as vcpu_count,
    case when seconds is not null then coalesce(properties ->> '$.memory_gb', '0') end as memory_gb,
    case when seconds is not null then coalesce(properties ->> '$.storage_gb', '0') end as storage_gb,
    case when seconds is not null then coalesce(properties ->> '$.gpu', '0') end as gpu_count,
    properties ->> '$.tokens' as tokens
from usage_events
