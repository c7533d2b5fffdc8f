{# Compaction: which raw events `compacted_events` has to read. It has one row for repeated events of a sandbox and day. When an event lands for
   a day, the day of that sandbox is read again from the raw events, so that its rows are always those of a full refresh. The files that were
   read are recorded in the same transaction, in state tables. #}

{# The number of the time slice of an instant; slices of that many seconds are counted from 1970. #}
{% macro time_slice(instant, seconds) -%}
    {{ adapter.dispatch('time_slice')(instant, seconds) }}
{%- endmacro %}

{% macro duckdb__time_slice(instant, seconds) -%}
    epoch_us({{ instant }}) // ({{ seconds }} * 1000000)
{%- endmacro %}

{% macro spark__time_slice(instant, seconds) -%}
    timestampdiff(second, timestamp_ntz'1970-01-01 00:00:00', {{ instant }}) div ({{ seconds }})
{%- endmacro %}

{# The columns of usage events in the staging layer, from any relation of raw events. #}
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
    {%- set reported = 'coalesce(' ~ to_utc('started_at') ~ ', '
        ~ plus_microseconds(to_utc('event_at'), '-cast(cast(duration_seconds as decimal(38, 6)) * 1000000 as bigint)') ~ ')' %}
    -- When the session started, as a stop or a pause reports it: before the event, and at most 400 days (billing rules, section 4).
    case
        when
            event_type in ('sandbox_stopped', 'sandbox_paused')
            and {{ reported }} < {{ to_utc('event_at') }}
            and {{ reported }} >= {{ to_utc('event_at') }} - interval 400 day
            then {{ reported }}
    end as reported_start_at,
    file_id,
    file_row
{%- endmacro %}

{# Engines without incremental builds read everything. #}
{% macro compaction_plan() -%}
    {{ return(adapter.dispatch('compaction_plan')()) }}
{%- endmacro %}

{% macro default__compaction_plan() -%}
    {{ return({'reads_all': true, 'files': [], 'new_files': [], 'reads_in_part': false, 'build_number': 1, 'has_voids': true}) }}
{%- endmacro %}

{# files: the raw files of each day with newly landed events, with events after the last build's as_of, or with newly voided events;
   new_files: those of them with rows that determine which sandboxes are recomputed; reads_in_part: whether they have other rows too, or there
   are other files; has_voids: whether any event is voided. #}
{% macro duckdb__compaction_plan() -%}
    {%- if not execute -%}
        {{ return({'reads_all': false, 'files': [], 'new_files': [], 'reads_in_part': false, 'build_number': 1, 'has_voids': false}) }}
    {%- endif -%}
    {%- set is_full = must_compact_everything() -%}
    {%- set has_voids = run_query(
        "select count(*) from " ~ ref('event_voids') ~ " as voids cross join " ~ ref('stg_build_inputs') ~ " as build"
        ~ " where voids.sandbox_id is not null and voids.voided_at <= build.as_of"
    ).rows[0][0] > 0 -%}
    {%- set days_of_voids = "select event_date from " ~ voids_to_apply() ~ " as voids" -%}
    {%- set found = run_query(
        "with landed as ("
        ~ "select file_id, last_at from " ~ ref('stg_landed_files') ~ " where kind = 'usage'"
        ~ "), judged as ("
        ~ "select files.path, files.event_date, "
        ~ ("true" if is_full else
           "landed.file_id not in (select file_id from " ~ compacted_files() ~ ")"
           ~ " or coalesce(landed.last_at > state.as_of and files.event_date >= cast(state.as_of as date), false)")
        ~ " as is_new from "
        ~ usage_files('true' if is_full else days_of_files(is_new_file()) ~ " or event_date in (" ~ days_of_voids ~ ")")
        ~ " as files inner join landed on files.file_id = landed.file_id"
        ~ ("" if is_full else " cross join " ~ compaction_state() ~ " as state")
        ~ ") select path, bool_or(is_new), bool_and(is_new) from judged"
        ~ " where event_date in (select event_date from judged where is_new)"
        ~ ("" if is_full else " or event_date in (" ~ days_of_voids ~ ")")
        ~ " group by path order by path"
    ) -%}
    {%- set files, new_files = [], [] -%}
    {%- set wholly_new_files = [] -%}
    {%- for row in found.rows -%}
        {%- do files.append(row[0]) -%}
        {%- if row[1] -%}{%- do new_files.append(row[0]) -%}{%- endif -%}
        {%- if row[2] -%}{%- do wholly_new_files.append(row[0]) -%}{%- endif -%}
    {%- endfor -%}
    {%- set build_number = 1 if is_full else run_query('select build_number + 1 from ' ~ compaction_state()).rows[0][0] -%}
    {{ return({
        'reads_all': false,
        'files': files,
        'new_files': new_files,
        'reads_in_part': files | length > wholly_new_files | length,
        'build_number': build_number,
        'has_voids': has_voids,
    }) }}
{%- endmacro %}

{# Condition on `stg_landed_files`: the last build has not read the file, or not all of it, because of its as_of. #}
{% macro is_new_file() -%}
    (
        file_id not in (select file_id from {{ compacted_files() }})
        or coalesce(last_at > (select as_of from {{ compaction_state() }}), false)
    )
{%- endmacro %}

{# Condition on `event_date`: between the first and the last day of the files of usage that satisfy a condition on `stg_landed_files`. #}
{% macro days_of_files(condition) -%}
    event_date between
    (select min(cast(first_at as date)) from {{ ref('stg_landed_files') }} as files where kind = 'usage' and {{ condition }})
    and (select max(cast(last_at as date)) from {{ ref('stg_landed_files') }} as files where kind = 'usage' and {{ condition }})
{%- endmacro %}

{# The landed events that were voided since the last build: their days are recomputed. #}
{% macro voids_to_apply() -%}
    (
        select
            voids.event_id,
            voids.sandbox_id,
            voids.execution_id,
            voids.event_date
        from {{ ref('event_voids') }} as voids
        cross join {{ ref('stg_build_inputs') }} as build
        where
            voids.sandbox_id is not null
            and voids.voided_at <= build.as_of
            {%- if execute and target.type == 'duckdb' %}
            and voids.event_id not in (select event_id from {{ applied_voids() }})
            {%- endif %}
    )
{%- endmacro %}

{# The voided events that compacted_events excludes. #}
{% macro applied_voids() -%}
    {{ return(state_table('applied_voids')) }}
{%- endmacro %}

{# The kind of an event for sessions. An update with quantities and without a resource is of the kind `quantities`: it means that the sandbox
   still runs, and opens no session. Short texts, since compaction groups by them. #}
{% macro event_kind(events) -%}
    case {{ events }}.event_type
        when 'sandbox_started' then 'start'
        when 'sandbox_stopped' then 'stop'
        when 'sandbox_heartbeat' then 'heartbeat'
        when 'sandbox_paused' then 'pause'
        when 'sandbox_resumed' then 'resume'
        when 'resources_updated' then
            case
                when
                    (
                        {%- for quantity in quantity_columns() %}
                        {{ 'or ' if not loop.first }}{{ events }}.{{ quantity }} is not null
                        {%- endfor %}
                    )
                    {%- for resource in resource_columns() %}
                    and {{ events }}.{{ resource }} is null
                    {%- endfor %}
                    then 'quantities'
                else 'update'
            end
        else {{ events }}.event_type
    end
{%- endmacro %}

{# The kinds of events that have an effect on sessions, each with the column of compacted_events that says whether a row has one. #}
{% macro event_flags() -%}
    {{ return({
        'start': 'has_start', 'stop': 'has_stop', 'update': 'has_update', 'heartbeat': 'has_heartbeat', 'pause': 'has_pause',
        'resume': 'has_resume', 'quantities': 'has_quantity_update'
    }) }}
{%- endmacro %}

{# Whether a row of compacted_events changes the state of its timeline, or could. #}
{% macro changes_state(events) -%}
    (
        {%- for kind, flag in event_flags().items() if kind != 'quantities' %}
        {{ 'or ' if not loop.first }}{{ events }}.{{ flag }}
        {%- endfor %}
    )
{%- endmacro %}

{# The kinds whose resources are in force from an instant on, the first that names one first. Billing rules, section 4. #}
{% macro naming_kinds() -%}
    {{ return(['update', 'heartbeat', 'resume', 'start']) }}
{%- endmacro %}

{# Whether an event has other resources than the deciding event of its kind at the same instant (`deciding_<resource>`). #}
{% macro is_superseded() -%}
    event_kind in ('{{ naming_kinds() | join("', '") }}')
    and (
        {%- for resource in resource_columns() %}
        {{ 'or ' if not loop.first }}{{ resource }} is distinct from deciding_{{ resource }}
        {%- endfor %}
    )
{%- endmacro %}

{# The counts in a row of compacted_events. Heartbeats are counted as updates. #}
{% macro event_counts() -%}
    {{ return(['event_count', 'stop_count', 'pause_count', 'update_count', 'quantity_event_count', 'superseded_count']) }}
{%- endmacro %}

{# Whether no compacted events can be reused: there are none, or the models, the heartbeat timeout or the first billing month changed, or
   the last build was as of a later instant. #}
{% macro must_compact_everything() -%}
    {%- if
        not has_rows_to_reuse()
        or load_relation(compacted_files()) is none
        or load_relation(compaction_state()) is none
        or load_relation(applied_voids()) is none
    -%}
        {{ return(true) }}
    {%- endif -%}
    {#- State of earlier versions lacks this column. -#}
    {%- if 'books_open_at' not in adapter.get_columns_in_relation(compaction_state()) | map(attribute='name') -%}{{ return(true) }}{%- endif -%}
    {%- set same_inputs = run_query(
        "select count(*) from " ~ compaction_state() ~ " as state cross join " ~ ref('stg_build_inputs') ~ " as build"
        ~ " where state.code_version = build.code_version and state.as_of <= build.as_of"
        ~ " and state.heartbeat_timeout_seconds is not distinct from build.heartbeat_timeout_seconds"
        ~ " and state.books_open_at = build.books_open_at"
    ) -%}
    {{ return(same_inputs.rows[0][0] != 1) }}
{%- endmacro %}

{% macro compacted_files() -%}
    {{ return(state_table('compacted_files')) }}
{%- endmacro %}

{% macro compaction_state() -%}
    {{ return(state_table('compaction_state')) }}
{%- endmacro %}

{# Before compaction: if nothing can be reused, clear the state; otherwise delete the days with newly voided events, since a day whose events
   are all voided has no new row that would replace the old ones. One hook, because the second of two could not tell the cases apart. #}
{% macro prepare_compaction() -%}
    {%- if execute and target.type == 'duckdb' -%}
    {%- if must_compact_everything() -%}
        create or replace table {{ compacted_files() }} (file_id varchar);
        create or replace table {{ applied_voids() }} (event_id varchar, sandbox_id varchar, execution_id varchar);
        delete from {{ state_table('rated_inputs') }};
        delete from {{ state_table('rating_decision') }};
        delete from {{ assignment_state() }};
        drop table if exists {{ compaction_state() }};
    {%- else -%}
        delete from {{ this }} as existing
        using {{ voids_to_apply() }} as voids
        where
            existing.timeline_key = {{ timeline_key('voids.sandbox_id', 'voids.execution_id') }}
            and existing.event_date = voids.event_date
    {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{# The build number of the compaction before this one: 0 in a full one, which drops the state before. Not by `load_relation`, which caches. #}
{% macro previous_build_number() -%}
    {%- set state = compaction_state() -%}
    {%- set exists = run_query(
        "select count(*) from duckdb_tables() where schema_name = '" ~ state.schema ~ "' and table_name = '" ~ state.identifier ~ "'"
    ).rows[0][0] -%}
    {{ return(run_query('select max(build_number) from ' ~ state).rows[0][0] if exists else 0) }}
{%- endmacro %}

{# After compaction, in its transaction: record the files that were read. The build number never falls, also if the rows with the highest one are
   voided: others compare with it. #}
{% macro record_compaction() -%}
    {%- if execute and target.type == 'duckdb' -%}
        insert into {{ compacted_files() }}
        select file_id from {{ ref('stg_landed_files') }}
        where kind = 'usage' and file_id not in (select file_id from {{ compacted_files() }});
        insert into {{ applied_voids() }}
        select event_id, sandbox_id, execution_id from {{ voids_to_apply() }};
        create or replace table {{ compaction_state() }} as
        select
            as_of,
            books_open_at,
            heartbeat_timeout_seconds,
            code_version,
            greatest((select max(build_number) from {{ this }}), {{ previous_build_number() }}) as build_number
        from {{ ref('stg_build_inputs') }}
    {%- endif -%}
{%- endmacro %}

{# Events of some raw files, named by path. A merged file may have rows of files that are not in `stg_landed_files`, as in a reconstruction of
   an earlier state. #}
{% macro usage_events_in(files) -%}
    {%- set folder = source_folder('raw', 'usage_events') -%}
    {%- set landed = ref('stg_landed_files') -%}
    {#- With the file that has all columns and no row: a file that landed before a column was added does not have it. -#}
    {%- set paths = [folder ~ '/_schema.parquet'] -%}
    {%- for file in files -%}{%- do paths.append(file) -%}{%- endfor -%}
    (
        select *
        from read_parquet({{ listed_files(paths) }}, hive_partitioning = false, union_by_name = true)
        {%- if '/merged-' in files | join %}
        where file_id in (select file_id from {{ landed }})
        {%- endif %}
    )
{%- endmacro %}

{# Whether no event that was found for a void can be reused: there is none, or the models changed. #}
{% macro voids_need_full_refresh() -%}
    {%- if not has_rows_to_reuse() or load_relation(compaction_state()) is none -%}{{ return(true) }}{%- endif -%}
    {{ return(run_query(
        "select count(*) from " ~ compaction_state() ~ " as state cross join " ~ ref('stg_build_inputs') ~ " as build"
        ~ " where state.code_version = build.code_version"
    ).rows[0][0] != 1) }}
{%- endmacro %}

{# The raw events in which `event_voids` looks for voided ones: none if there is no new void, because it is all of history. #}
{% macro events_to_search_for_voids() -%}
    {{ adapter.dispatch('events_to_search_for_voids')() }}
{%- endmacro %}

{% macro default__events_to_search_for_voids() -%}
    {{ ref('stg_usage_events') }}
{%- endmacro %}

{% macro duckdb__events_to_search_for_voids() -%}
    {%- set new_voids = 0 if not execute else run_query(
        "select count(*) from " ~ ref('stg_voids') ~ " where event_id is not null"
        ~ (" and event_id not in (select event_id from " ~ this ~ ")" if reuses_rows() else "")
    ).rows[0][0] -%}
    {%- if new_voids > 0 -%}
    {{ ref('stg_usage_events') }}
    {%- else -%}
    (select {{ usage_event_columns() | indent(4) }} from {{ usage_events_in([]) }})
    {%- endif -%}
{%- endmacro %}

{# The raw events of the days on which `sandbox_states` has events without effect, or `assigned_events` events without an execution: few, so that not all of history is read. #}
{% macro events_of_ignored_days() -%}
    {{ adapter.dispatch('events_of_ignored_days')() }}
{%- endmacro %}

{% macro default__events_of_ignored_days() -%}
    {{ ref('stg_usage_events') }}
{%- endmacro %}

{% macro duckdb__events_of_ignored_days() -%}
    {%- set states, landed = ref('sandbox_states'), ref('stg_landed_files') -%}
    {%- set days = "event_date in (select cast(event_at as date) from " ~ states ~ " where ignored_event_count > 0"
        ~ " union all select events.event_date from " ~ ref('assigned_events') ~ " as events " ~ only_dirty_executions('events')
        ~ " where events.execution_id = '' and events.event_count > events.quantity_event_count)" -%}
    {%- set files = [] -%}
    {%- if execute -%}
        {%- set found = run_query(
            "select distinct path from " ~ usage_files(days) ~ " where " ~ days
            ~ " and file_id in (select file_id from " ~ landed ~ ") order by path"
        ) -%}
        {%- for row in found.rows -%}{%- do files.append(row[0]) -%}{%- endfor -%}
    {%- endif -%}
    (select {{ usage_event_columns() | indent(4) }} from {{ usage_events_in(files) }})
{%- endmacro %}

{# The raw events of the landed files that satisfy a condition on `stg_landed_files` and the build's inputs (`files`, `build`): all files of
   usage where the engine cannot choose, and the files that were merged with them. The reader still filters events. #}
{% macro raw_events_of_files(condition) -%}
    {{ adapter.dispatch('raw_events_of_files')(condition) }}
{%- endmacro %}

{% macro default__raw_events_of_files(condition) -%}
    {{ ref('stg_usage_events') }}
{%- endmacro %}

{% macro duckdb__raw_events_of_files(condition) -%}
    {%- set landed, inputs = ref('stg_landed_files'), ref('stg_build_inputs') -%}
    {%- set files = [] -%}
    {%- if execute -%}
        {%- set chosen = "from " ~ landed ~ " as files cross join " ~ inputs ~ " as build where files.kind = 'usage' and " ~ condition -%}
        {%- set days = "event_date between (select min(cast(first_at as date)) " ~ chosen ~ ")"
            ~ " and (select max(cast(last_at as date)) " ~ chosen ~ ")" -%}
        {%- set found = run_query(
            "select distinct path from " ~ usage_files(days) ~ " where file_id in (select files.file_id " ~ chosen ~ ") order by path"
        ) -%}
        {%- for row in found.rows -%}{%- do files.append(row[0]) -%}{%- endfor -%}
    {%- endif -%}
    (select {{ usage_event_columns() | indent(4) }} from {{ usage_events_in(files) }})
{%- endmacro %}
