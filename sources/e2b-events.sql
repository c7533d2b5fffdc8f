-- description: E2B's lifecycle events
-- reads: rows of its Redis stream, answers of its events API and webhooks, exports of its ClickHouse table sandbox_events
-- kind: usage
--
-- A customer is a team. To bill a team's own end users instead, replace user_id below by a key of their sandboxes' metadata, for example:
--   event_data ->> '$.sandbox_metadata.customer' as user_id
--
-- A pause ends an execution, and a resume begins another, with its own sandbox_execution_id: so they are a stop and a start. An update and a
-- checkpoint only confirm that the sandbox runs. The closing events tell the resources, and how long the execution ran.
with

events as (

    select
        file_row,
        row -> '$.id' as id,
        row ->> '$.type' as type,
        row ->> '$.timestamp' as event_at,
        coalesce(row -> '$.sandbox_id', row -> '$.sandboxId') as sandbox_id,
        coalesce(row -> '$.sandbox_execution_id', row -> '$.sandboxExecutionId') as execution_id,
        coalesce(row -> '$.sandbox_team_id', row -> '$.sandboxTeamId') as team_id,
        -- ClickHouse has the data as a text of JSON.
        case
            when json_type(row, '$.event_data') = 'VARCHAR' then cast(row ->> '$.event_data' as json)
            else coalesce(row -> '$.event_data', row -> '$.eventData')
        end as event_data
    from rows

),

executions as (

    select
        *,
        cast(event_data ->> '$.execution.execution_time' as decimal(18, 0)) as milliseconds
    from events

)

select
    file_row,
    id as event_id,
    sandbox_id,
    team_id as user_id,
    event_at as timestamp,
    case type
        when 'sandbox.lifecycle.created' then 'sandbox_started'
        when 'sandbox.lifecycle.resumed' then 'sandbox_started'
        when 'sandbox.lifecycle.updated' then 'resources_updated'
        when 'sandbox.lifecycle.checkpointed' then 'resources_updated'
        when 'sandbox.lifecycle.paused' then 'sandbox_stopped'
        when 'sandbox.lifecycle.killed' then 'sandbox_stopped'
        else type
    end as event_type,
    execution_id,
    event_data ->> '$.execution.vcpu_count' as vcpu_count,
    -- 1 / 1024, rounded to the six decimals of a resource. Sizes in multiples of 16 MB are exact.
    cast(cast(event_data ->> '$.execution.memory_mb' as decimal(18, 0)) * 0.0009765625 as decimal(18, 6)) as memory_gb,
    case
        when type not in ('sandbox.lifecycle.paused', 'sandbox.lifecycle.killed') then null
        when milliseconds is null then event_data ->> '$.execution.started_at'
        else cast(cast(event_at as timestamptz) - to_milliseconds(cast(milliseconds as bigint)) as varchar)
    end as started_at
from executions
