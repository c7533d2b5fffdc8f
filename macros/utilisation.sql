{# What `sandbox_minutes` and `sandbox_utilisation` take over from the last build. A day of samples is folded into minutes anew when a file
   landed for it; a sandbox's day is set against what was billed anew when its minutes or its sessions are not what they were.
   Kept in another schema than the events' `build_state`: both are begun at once, and of two that make a schema one fails. #}

{# Samples as the staging layer names them, from whatever holds the raw ones. #}
{% macro sandbox_metric_columns() -%}
    sandbox_id,
    {{ to_utc('sampled_at') }} as sampled_at,
    cpu_used_pct,
    mem_bytes,
    file_id,
    file_row
{%- endmacro %}

{# Engines that do not build on the last build read everything. #}
{% macro sample_plan() -%}
    {{ return(adapter.dispatch('sample_plan')()) }}
{%- endmacro %}

{% macro default__sample_plan() -%}
    {{ return({'reads_all': true, 'starts_anew': true, 'files': [], 'days': []}) }}
{%- endmacro %}

{# days: those that a file landed for which has not been folded; files: all that landed for them. #}
{% macro duckdb__sample_plan() -%}
    {%- set folder = source_folder('raw', 'sandbox_metrics') -%}
    {%- set files, days = [], [] -%}
    {%- if not execute -%}
        {{ return({'reads_all': false, 'starts_anew': true, 'files': files, 'days': days}) }}
    {%- endif -%}
    {%- set raw = "glob('" ~ folder ~ "/sample_date=*/*.parquet')" -%}
    {# Who lands no samples pays for one look into an empty folder. #}
    {%- if run_query("select count(*) from " ~ raw).rows[0][0] == 0 -%}
        {{ return({'reads_all': false, 'starts_anew': true, 'files': files, 'days': days}) }}
    {%- endif -%}
    {%- set starts_anew = not is_kept() or load_relation(folded_samples()) is none or run_query(
        "select count(*) from " ~ folded_samples() ~ " where code_version <> (select code_version from " ~ ref('stg_build_inputs') ~ ")"
    ).rows[0][0] > 0 -%}
    {%- set found = run_query(
        "with landed as ("
        ~ "select files.file as path, parse_filename(files.file, true) as file_id,"
        ~ " cast(regexp_extract(files.file, 'sample_date=([0-9-]+)', 1) as date) as sample_date"
        ~ " from " ~ raw ~ " as files"
        ~ " where parse_filename(files.file, true) in (select file_id from " ~ ref('stg_landed_files') ~ ")"
        ~ ") select path, cast(sample_date as varchar) from landed where sample_date in (select sample_date from landed"
        ~ ("" if starts_anew else " where file_id not in (select file_id from " ~ folded_samples() ~ ")")
        ~ ") order by path"
    ) -%}
    {%- for row in found.rows -%}
        {%- do files.append(row[0]) -%}
        {%- if row[1] not in days -%}{%- do days.append(row[1]) -%}{%- endif -%}
    {%- endfor -%}
    {{ return({'reads_all': false, 'starts_anew': starts_anew, 'files': files, 'days': days}) }}
{%- endmacro %}

{# Whether no folded day can stay: none was folded yet, or other models did. #}
{% macro samples_start_anew() -%}
    {{ return(sample_plan().starts_anew) }}
{%- endmacro %}

{% macro folded_samples() -%}
    {{ return(state_table('folded_samples', 'sample_state')) }}
{%- endmacro %}

{% macro refolded_days() -%}
    {{ return(state_table('refolded_days', 'sample_state')) }}
{%- endmacro %}

{% macro stale_utilisation() -%}
    {{ return(state_table('stale_utilisation', 'sample_state')) }}
{%- endmacro %}

{# Before the fold: the minutes of days that are folded anew go. #}
{% macro forget_sampled_days() -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set plan = sample_plan() -%}
        {%- if plan.starts_anew -%}
            create schema if not exists sample_state;
            create or replace table {{ folded_samples() }} (file_id varchar, code_version varchar);
            create or replace table {{ refolded_days() }} (sample_date date)
        {%- elif plan.days -%}
            delete from {{ this }} where sample_date in (date '{{ plan.days | join("', date '") }}')
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{# After the fold, in its transaction: what it has read, and of which days utilisation is not known any more. #}
{% macro remember_sampled_days() -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set plan = sample_plan() -%}
        {%- if plan.days -%}
            insert into {{ refolded_days() }} values (date '{{ plan.days | join("'), (date '") }}');
            insert into {{ folded_samples() }}
            select file_id, (select code_version from {{ ref('stg_build_inputs') }}) from {{ ref('stg_landed_files') }}
            where kind = 'metrics' and file_id not in (select file_id from {{ folded_samples() }})
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{# Before sandboxes' days are worked out: which ones, and their old rows go. Anew are days with new samples, all days of sandboxes whose
   sessions or prices are worked out anew, and those that were not over when the last build looked. #}
{% macro forget_stale_utilisation() -%}
    {%- set minutes, changed_timelines = ref('sandbox_minutes'), ref('changed_timelines') -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set starts_anew = utilisation_starts_anew() -%}
        create or replace table {{ stale_utilisation() }} as
        select distinct sandbox_id, sample_date from {{ minutes }}
        {%- if not starts_anew %}
        where
            sample_date in (select sample_date from {{ refolded_days() }})
            or sandbox_id in (select sandbox_id from {{ changed_timelines }})
            or sample_date >= cast({{ last_rated('as_of') }} as date);
        delete from {{ this }}
        using {{ stale_utilisation() }} as stale
        where {{ this.identifier }}.sandbox_id = stale.sandbox_id and {{ this.identifier }}.usage_date = stale.sample_date
        {%- endif %};
        delete from {{ refolded_days() }}
    {%- endif -%}
{%- endmacro %}

{% macro utilisation_starts_anew() -%}
    {{ return(not is_kept() or rates_from_scratch()) }}
{%- endmacro %}

{# Whole millionths of a unit -> units, exact. #}
{% macro from_millionths(millionths) -%}
    cast(cast({{ millionths }} as decimal(38, 0)) * cast(0.000001 as decimal(6, 6)) as decimal(18, 6))
{%- endmacro %}

{# The resource in whole millionths, of a quantity in unit-seconds that was held for so many microseconds. Exact: a resource has six decimals. #}
{% macro millionths_held(quantity, microseconds) -%}
    {{ divide_down(
        'cast(cast(' ~ quantity ~ ' as decimal(38, 12)) * cast(1000000000000 as decimal(13, 0)) as decimal(38, 0))', microseconds
    ) }}
{%- endmacro %}

{# A share of a whole, in percent, rounded half away from zero to two decimals; both are whole numbers, the whole positive. #}
{% macro to_percent(part, whole) -%}
    cast(
        cast({{ divide_rounding_half_away('10000 * ' ~ part, whole) }} as decimal(38, 0)) * cast(0.01 as decimal(2, 2)) as decimal(18, 2)
    )
{%- endmacro %}
