{# What `folded_events` has to read. It keeps what each sandbox was told on each day, and works a day of a sandbox out anew, from its raw
   events, when something landed for it: so its rows are always those that a build from scratch would make. What it has read is
   written down in the same transaction, in the schema `build_state`. #}

{# A slice of time of so many seconds, counted from 1970: the same for instants that lie in the same slice. #}
{% macro time_slice(instant, seconds) -%}
    {{ adapter.dispatch('time_slice')(instant, seconds) }}
{%- endmacro %}

{% macro duckdb__time_slice(instant, seconds) -%}
    epoch_us({{ instant }}) // ({{ seconds }} * 1000000)
{%- endmacro %}

{% macro spark__time_slice(instant, seconds) -%}
    timestampdiff(second, timestamp_ntz'1970-01-01 00:00:00', {{ instant }}) div ({{ seconds }})
{%- endmacro %}

{# Usage events as the staging layer names them, from whatever holds the raw ones. #}
{% macro usage_event_columns() -%}
    event_id,
    sandbox_id,
    -- One run of a sandbox; '' where the collector names none, so that windows and joins need no null logic.
    coalesce(execution_id, '') as execution_id,
    user_id as customer_id,
    {{ to_utc('event_at') }} as event_at,
    event_type,
    vcpu_count,
    memory_gb,
    storage_gb,
    gpu_count,
    tokens,
    file_id,
    file_row
{%- endmacro %}

{# Engines that do not build on the last build read everything. #}
{% macro fold_plan() -%}
    {{ return(adapter.dispatch('fold_plan')()) }}
{%- endmacro %}

{% macro default__fold_plan() -%}
    {{ return({'reads_all': true, 'files': [], 'new_files': [], 'build_number': 1}) }}
{%- endmacro %}

{# files: the raw files of each day that something new landed for, or that has events which the last build was too early to see;
   new_files: of those, the ones that say which sandboxes are to be worked out anew. #}
{% macro duckdb__fold_plan() -%}
    {%- if not execute -%}
        {{ return({'reads_all': false, 'files': [], 'new_files': [], 'build_number': 1}) }}
    {%- endif -%}
    {%- set starts_anew = folds_from_scratch() -%}
    {%- set found = run_query(
        "with files as ("
        ~ "select file as path, parse_filename(file, true) as file_id,"
        ~ " cast(regexp_extract(file, 'event_date=([0-9-]+)', 1) as date) as event_date"
        ~ " from glob('raw/usage_events/event_date=*/*.parquet')"
        ~ "), landed as ("
        ~ "select file_id, last_at from " ~ ref('stg_landed_files') ~ " where kind = 'usage'"
        ~ "), judged as ("
        ~ "select files.path, files.event_date, "
        ~ ("true" if starts_anew else
           "landed.file_id not in (select file_id from " ~ folded_files() ~ ")"
           ~ " or coalesce(landed.last_at > state.as_of and files.event_date >= cast(state.as_of as date), false)")
        ~ " as is_new from files inner join landed on files.file_id = landed.file_id"
        ~ ("" if starts_anew else " cross join " ~ fold_state() ~ " as state")
        ~ ") select path, is_new from judged"
        ~ " where event_date in (select event_date from judged where is_new) order by path"
    ) -%}
    {%- set files, new_files = [], [] -%}
    {%- for row in found.rows -%}
        {%- do files.append(row[0]) -%}
        {%- if row[1] -%}{%- do new_files.append(row[0]) -%}{%- endif -%}
    {%- endfor -%}
    {%- set build_number = 1 if starts_anew else run_query('select build_number + 1 from ' ~ fold_state()).rows[0][0] -%}
    {{ return({'reads_all': false, 'files': files, 'new_files': new_files, 'build_number': build_number}) }}
{%- endmacro %}

{# Whether nothing can be taken from the last build: there is none, or it was made by other models, with another heartbeat timeout,
   with another opening of the books, or as of a later instant. #}
{% macro folds_from_scratch() -%}
    {%- if not is_kept() or load_relation(folded_files()) is none or load_relation(fold_state()) is none -%}
        {{ return(true) }}
    {%- endif -%}
    {#- A state that older models wrote has no such column. -#}
    {%- if 'books_open_at' not in adapter.get_columns_in_relation(fold_state()) | map(attribute='name') -%}{{ return(true) }}{%- endif -%}
    {%- set standing = run_query(
        "select count(*) from " ~ fold_state() ~ " as state cross join " ~ ref('stg_build_inputs') ~ " as build"
        ~ " where state.code_version = build.code_version and state.as_of <= build.as_of"
        ~ " and state.heartbeat_timeout_seconds is not distinct from build.heartbeat_timeout_seconds"
        ~ " and state.books_open_at = build.books_open_at"
    ) -%}
    {{ return(standing.rows[0][0] != 1) }}
{%- endmacro %}

{% macro folded_files() -%}
    {{ return(api.Relation.create(database=this.database, schema='build_state', identifier='folded_files', type='table')) }}
{%- endmacro %}

{% macro fold_state() -%}
    {{ return(api.Relation.create(database=this.database, schema='build_state', identifier='fold_state', type='table')) }}
{%- endmacro %}

{# Before the fold: where it starts anew, forget all of it. #}
{% macro forget_folds() -%}
    {%- if execute and target.type == 'duckdb' and folds_from_scratch() -%}
        create or replace table {{ folded_files() }} (file_id varchar);
        delete from build_state.rated_state;
        delete from build_state.rating_plan;
        drop table if exists {{ fold_state() }};
    {%- endif -%}
{%- endmacro %}

{# After the fold, in its transaction: what it has read. #}
{% macro remember_folds() -%}
    {%- if execute and target.type == 'duckdb' -%}
        insert into {{ folded_files() }}
        select file_id from {{ ref('stg_landed_files') }}
        where kind = 'usage' and file_id not in (select file_id from {{ folded_files() }});
        create or replace table {{ fold_state() }} as
        select as_of, books_open_at, heartbeat_timeout_seconds, code_version, (select coalesce(max(build_number), 0) from {{ this }}) as build_number
        from {{ ref('stg_build_inputs') }}
    {%- endif -%}
{%- endmacro %}

{# Events of some raw files, named by path. #}
{% macro usage_events_in(files) -%}
    read_parquet(
        {%- if files %}{{ listed_files(files) }}{% else %}'raw/usage_events/_schema.parquet'{% endif -%}
        , hive_partitioning = false, union_by_name = true
    )
{%- endmacro %}
