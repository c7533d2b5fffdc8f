{# Incremental builds of `sandbox_minutes` and `sandbox_utilisation`. A build recomputes the minutes of a day for which a file landed, and the
   utilisation of sandbox-days whose minutes or sessions changed. The state is in a schema of its own, not in `build_state`: models of the two
   run in parallel, and two transactions that create one schema conflict. #}

{# The select list that turns raw samples into those of staging. #}
{% macro sandbox_metric_columns() -%}
    sandbox_id,
    {{ to_utc('sampled_at') }} as sampled_at,
    cpu_used_pct,
    mem_bytes,
    file_id,
    file_row
{%- endmacro %}

{# The samples that a build reads: all of them on engines without incremental builds. #}
{% macro sample_plan() -%}
    {{ return(adapter.dispatch('sample_plan')()) }}
{%- endmacro %}

{% macro default__sample_plan() -%}
    {{ return({'reads_all': true, 'is_full': true, 'files': [], 'days': []}) }}
{%- endmacro %}

{# days: days with samples in a file that no build has read; files: all files of those days. #}
{% macro duckdb__sample_plan() -%}
    {%- set folder = source_folder('raw', 'sandbox_metrics') -%}
    {%- set files, days = [], [] -%}
    {%- if not execute -%}
        {{ return({'reads_all': false, 'is_full': true, 'files': files, 'days': days}) }}
    {%- endif -%}
    {%- set raw = "glob('" ~ folder ~ "/sample_date=*/*.parquet')" -%}
    {# Deployments without samples need no more than this query. #}
    {%- if run_query("select count(*) from " ~ raw).rows[0][0] == 0 -%}
        {{ return({'reads_all': false, 'is_full': true, 'files': files, 'days': days}) }}
    {%- endif -%}
    {%- set is_full = not has_rows_to_reuse() or load_relation(read_samples()) is none or run_query(
        "select count(*) from " ~ read_samples() ~ " where code_version <> (select code_version from " ~ ref('stg_build_inputs') ~ ")"
    ).rows[0][0] > 0 -%}
    {%- set found = run_query(
        "with landed as ("
        ~ "select files.file as path, parse_filename(files.file, true) as file_id,"
        ~ " cast(regexp_extract(files.file, 'sample_date=([0-9-]+)', 1) as date) as sample_date"
        ~ " from " ~ raw ~ " as files"
        ~ " where parse_filename(files.file, true) in (select file_id from " ~ ref('stg_landed_files') ~ ")"
        ~ ") select path, cast(sample_date as varchar) from landed where sample_date in (select sample_date from landed"
        ~ ("" if is_full else " where file_id not in (select file_id from " ~ read_samples() ~ ")")
        ~ ") order by path"
    ) -%}
    {%- for row in found.rows -%}
        {%- do files.append(row[0]) -%}
        {%- if row[1] not in days -%}{%- do days.append(row[1]) -%}{%- endif -%}
    {%- endfor -%}
    {{ return({'reads_all': false, 'is_full': is_full, 'files': files, 'days': days}) }}
{%- endmacro %}

{# Whether no minutes of the last build can be reused: there are none, or other models computed them. #}
{% macro samples_need_full_refresh() -%}
    {{ return(sample_plan().is_full) }}
{%- endmacro %}

{% macro read_samples() -%}
    {{ return(state_table('read_samples', 'sample_state')) }}
{%- endmacro %}

{% macro recomputed_days() -%}
    {{ return(state_table('recomputed_days', 'sample_state')) }}
{%- endmacro %}

{% macro stale_utilisation() -%}
    {{ return(state_table('stale_utilisation', 'sample_state')) }}
{%- endmacro %}

{# Pre-hook of sandbox_minutes: deletes the minutes of days to recompute. #}
{% macro delete_sampled_days() -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set plan = sample_plan() -%}
        {%- if plan.is_full -%}
            create schema if not exists sample_state;
            create or replace table {{ read_samples() }} (file_id varchar, code_version varchar);
            create or replace table {{ recomputed_days() }} (sample_date date)
        {%- elif plan.days -%}
            delete from {{ this }} where sample_date in (date '{{ plan.days | join("', date '") }}')
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{# Post-hook of sandbox_minutes, in its transaction: records the files read and the days whose utilisation is to be recomputed. #}
{% macro record_sampled_days() -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set plan = sample_plan() -%}
        {%- if plan.days -%}
            insert into {{ recomputed_days() }} values (date '{{ plan.days | join("'), (date '") }}');
            insert into {{ read_samples() }}
            select file_id, (select code_version from {{ ref('stg_build_inputs') }}) from {{ ref('stg_landed_files') }}
            where kind = 'metrics' and file_id not in (select file_id from {{ read_samples() }})
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{# Condition on `sandbox_minutes`: the utilisation of its sandbox and day is to be recomputed. These are days with new samples, all days of dirty
   executions, and days that were not over at the last build's as_of. #}
{% macro is_stale_minute() -%}
    {%- set dirty_executions = ref('dirty_executions') -%}
    {%- if utilisation_needs_full_refresh() -%}
        true
    {%- else -%}
        (
            sample_date in (select sample_date from {{ recomputed_days() }})
            or sandbox_id in (select sandbox_id from {{ dirty_executions }})
            or sample_date >= cast({{ last_rated('as_of') }} as date)
        )
    {%- endif -%}
{%- endmacro %}

{# Condition on a day: it lies between the first and the last day to recompute. Without it, a build would read all segments, also in a deployment
   without samples. #}
{% macro may_be_stale_day(day) -%}
    {%- set minutes = ref('sandbox_minutes') -%}
    {%- if not execute or target.type != 'duckdb' -%}{{ return('true') }}{%- endif -%}
    {%- set days = run_query("select min(sample_date), max(sample_date) from " ~ minutes ~ " where " ~ is_stale_minute()).rows[0] -%}
    {{ return("false" if days[0] is none else day ~ " between date '" ~ days[0] ~ "' and date '" ~ days[1] ~ "'") }}
{%- endmacro %}

{# Pre-hook of sandbox_utilisation: records the sandbox-days to recompute and deletes their rows. #}
{% macro delete_stale_utilisation() -%}
    {%- set minutes = ref('sandbox_minutes') -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set is_full = utilisation_needs_full_refresh() -%}
        create or replace table {{ stale_utilisation() }} as
        select distinct sandbox_id, sample_date from {{ minutes }}
        where {{ is_stale_minute() }}
        {%- if not is_full %};
        delete from {{ this }}
        using {{ stale_utilisation() }} as stale
        where {{ this.identifier }}.sandbox_id = stale.sandbox_id and {{ this.identifier }}.usage_date = stale.sample_date
        {%- endif %};
        delete from {{ recomputed_days() }}
    {%- endif -%}
{%- endmacro %}

{% macro utilisation_needs_full_refresh() -%}
    {{ return(not has_rows_to_reuse() or is_full_rating()) }}
{%- endmacro %}

{# Whole millionths of a unit -> units, exact. #}
{% macro from_millionths(millionths) -%}
    cast(cast({{ millionths }} as decimal(38, 0)) * cast(0.000001 as decimal(6, 6)) as decimal(18, 6))
{%- endmacro %}

{# Quantity in unit-seconds held for a number of microseconds -> the resource in millionths. Exact: a resource has at most 6 decimals. #}
{% macro millionths_held(quantity, microseconds) -%}
    {{ divide_down(
        'cast(cast(' ~ quantity ~ ' as decimal(38, 12)) * cast(1000000000000 as decimal(13, 0)) as decimal(38, 0))', microseconds
    ) }}
{%- endmacro %}

{# part / whole in percent, rounded half away from zero to 2 decimals. Both are whole numbers; whole is positive. #}
{% macro to_percent(part, whole) -%}
    cast(
        cast({{ divide_rounding_half_away('10000 * ' ~ part, whole) }} as decimal(38, 0)) * cast(0.01 as decimal(2, 2)) as decimal(18, 2)
    )
{%- endmacro %}
