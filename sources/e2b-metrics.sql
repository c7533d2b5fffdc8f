-- description: E2B's measurements of CPU and memory
-- reads: samples of its SDK, answers of its metrics API (of one sandbox, or of several by id), gauges of its ClickHouse table
-- kind: metrics
--
-- The answer for one sandbox does not contain its id: name the file <sandbox id>.jsonl or <sandbox id>.json.
with

samples as (

    select
        [file_row] as file_row,
        coalesce(row -> '$.sandbox_id', row -> '$.sandboxId', to_json(split_part(file_name, '.', 1))) as sandbox_id,
        row as sample
    from rows
    where (row -> '$.sandboxes') is null and (row -> '$.metric_name') is null

),

ids as (

    select
        file_row,
        row,
        unnest(json_keys(row, '$.sandboxes')) as sandbox_id
    from rows

),

samples_by_id as (

    select
        [file_row] as file_row,
        to_json(sandbox_id) as sandbox_id,
        json_extract(row, '$.sandboxes."' || sandbox_id || '"') as sample
    from ids

),

api_samples as (

    select * from samples
    union all
    select * from samples_by_id

),

-- Of one instant there is a gauge for each metric, and a sample needs two of them.
gauges as (

    select
        file_row,
        row -> '$.sandbox_id' as sandbox_id,
        row ->> '$.timestamp' as sampled_at,
        row ->> '$.metric_name' as metric_name,
        cast(row ->> '$.value' as decimal(38, 12)) as reading
    from rows
    where (row ->> '$.metric_name') in ('e2b.sandbox.cpu.used', 'e2b.sandbox.ram.used')

),

joined_gauges as (

    select
        list(file_row) as file_row,
        sandbox_id,
        sampled_at,
        max(reading) filter (metric_name = 'e2b.sandbox.cpu.used') as cpu_used_pct,
        max(reading) filter (metric_name = 'e2b.sandbox.ram.used') as mem_bytes
    from gauges
    group by sandbox_id, sampled_at

)

select
    file_row,
    sandbox_id,
    sample ->> '$.timestamp' as timestamp,
    coalesce(sample ->> '$.cpu_used_pct', sample ->> '$.cpuUsedPct') as cpu_used_pct,
    coalesce(sample ->> '$.mem_used', sample ->> '$.memUsed') as mem_bytes
from api_samples
union all
select
    file_row,
    sandbox_id,
    sampled_at as timestamp,
    cast(cpu_used_pct as varchar) as cpu_used_pct,
    cast(mem_bytes as varchar) as mem_bytes
from joined_gauges
