{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    full_refresh_when='samples_need_full_refresh',
    pre_hook='{{ delete_sampled_days() }}',
    post_hook='{{ record_sampled_days() }}'
) }}
-- depends_on: {{ ref('stg_sandbox_metrics') }}
-- depends_on: {{ ref('stg_build_inputs') }}
-- The use of each sandbox by minute. It depends on the samples of its day alone, so that late and corrected samples need no special handling.
-- docs/internals/utilisation.md.
{% set plan = sample_plan() %}
with

samples as (

    {% if plan.reads_all %}
    select * from {{ ref('stg_sandbox_metrics') }}
    {% else %}
    select
        {{ sandbox_metric_columns() | indent(8) }}
    from read_parquet(
        {%- if plan.files %}{{ listed_files(plan.files) }}{% else %}'{{ source_folder('raw', 'sandbox_metrics') }}/_schema.parquet'{% endif -%}
        , hive_partitioning = false, union_by_name = true
    )
    {% endif %}

),

-- Of several samples of one sandbox and instant the last landed counts.
ranked_samples as (

    select
        samples.sandbox_id,
        samples.sampled_at,
        samples.cpu_used_pct,
        samples.mem_bytes,
        row_number() over (
            partition by samples.sandbox_id, samples.sampled_at order by files.landed_sequence desc, samples.file_row desc
        ) as recency
    from samples
    inner join {{ ref('stg_landed_files') }} as files on samples.file_id = files.file_id

)

select
    sandbox_id,
    cast(sampled_at as date) as sample_date,
    cast(date_trunc('minute', sampled_at) as timestamp) as minute_at,
    cast(count(*) as bigint) as samples,
    {{ from_millionths(divide_rounding_half_away('sum(cast(cpu_used_pct * 1000000 as decimal(38, 0)))', 'count(*)')) }} as cpu_used_pct,
    max(mem_bytes) as mem_bytes
from ranked_samples
where recency = 1
group by sandbox_id, cast(sampled_at as date), cast(date_trunc('minute', sampled_at) as timestamp)
