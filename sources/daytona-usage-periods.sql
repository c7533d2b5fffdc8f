-- description: Daytona's usage periods: what a sandbox held, from when to when
-- reads: a period a row; its end is null while it runs
-- kind: usage
--
-- A period becomes a start, and a stop as soon as it has an end. Their ids are derived from the period's: a period that is sent again with an
-- end gives the same start, which is a duplicate, and a stop. Each period is an execution of its own.
with

periods as (

    select
        file_row,
        row ->> '$.id' as id,
        row -> '$.sandboxId' as sandbox_id,
        row -> '$.organizationId' as organization_id,
        row ->> '$.startAt' as started_at,
        row ->> '$.endAt' as ended_at,
        row ->> '$.cpu' as vcpu_count,
        row ->> '$.mem' as memory_gb,
        row ->> '$.disk' as storage_gb,
        row ->> '$.gpu' as gpu_count
    from rows

)

select
    file_row,
    id || ':start' as event_id,
    sandbox_id,
    organization_id as user_id,
    started_at as timestamp,
    'sandbox_started' as event_type,
    id as execution_id,
    vcpu_count,
    memory_gb,
    storage_gb,
    gpu_count,
    null as started_at
from periods
union all
select
    file_row,
    id || ':stop' as event_id,
    sandbox_id,
    organization_id as user_id,
    ended_at as timestamp,
    'sandbox_stopped' as event_type,
    id as execution_id,
    vcpu_count,
    memory_gb,
    storage_gb,
    gpu_count,
    started_at
from periods
where ended_at is not null
