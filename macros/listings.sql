{# Listings of running sandboxes: which of them a build reads, and what they say of sessions. A listing of 10,000 sandboxes each minute names
   14 million a day: a build reads the days for which a listing landed, and stores of each day when a sandbox was named without a gap. #}

{# The select list that turns raw listings into those of staging. #}
{% macro running_listing_columns() -%}
    coalesce(scope, '') as scope,
    {{ to_utc('listed_at') }} as listed_at,
    part,
    parts,
    sandbox_ids,
    file_id,
    file_row
{%- endmacro %}

{# Makes a row for each id of a JSON array. #}
{% macro ids_of(json_array) -%}
    {{ adapter.dispatch('ids_of')(json_array) }}
{%- endmacro %}

{% macro duckdb__ids_of(json_array) -%}
    unnest(from_json({{ json_array }}, '["VARCHAR"]'))
{%- endmacro %}

{% macro spark__ids_of(json_array) -%}
    explode(from_json({{ json_array }}, 'array<string>'))
{%- endmacro %}

{# The listings that a build reads: all of them on engines without incremental builds. #}
{% macro listing_plan() -%}
    {{ return(adapter.dispatch('listing_plan')()) }}
{%- endmacro %}

{% macro default__listing_plan() -%}
    {{ return({'reads_all': true, 'is_full': true, 'files': [], 'days': []}) }}
{%- endmacro %}

{# days: days with listings in a file that no build has read; files: all files with listings of those days. #}
{% macro duckdb__listing_plan() -%}
    {%- set folder, landed = source_folder('raw', 'running_listings'), ref('stg_landed_files') -%}
    {%- set plan = {'reads_all': false, 'is_full': true, 'files': [], 'days': []} -%}
    {%- set of_listings = "from " ~ landed ~ " where kind = 'running' and accepted_rows > 0" -%}
    {# Deployments without listings need no more than this query. #}
    {%- if not execute or run_query("select count(*) " ~ of_listings).rows[0][0] == 0 -%}
        {{ return(plan) }}
    {%- endif -%}
    {#- A back-up that was restored may lack files that were read. -#}
    {%- set is_full = not has_rows_to_reuse() or load_relation(read_listings()) is none or run_query(
        "select count(*) = 0 or bool_or(code_version <> (select code_version from " ~ ref('stg_build_inputs') ~ "))"
        ~ " or bool_or(file_id not in (select file_id " ~ of_listings ~ ")) from " ~ read_listings()
    ).rows[0][0] -%}
    {%- set days = run_query(
        "select distinct cast(cast(day as date) as varchar) from (select unnest(generate_series("
        ~ "date_trunc('day', first_at)::timestamp, date_trunc('day', last_at)::timestamp, interval 1 day)) as day " ~ of_listings
        ~ ("" if is_full else " and file_id not in (select file_id from " ~ read_listings() ~ ")") ~ ") order by 1"
    ) -%}
    {%- for row in days.rows -%}{%- do plan.days.append(row[0]) -%}{%- endfor -%}
    {%- if plan.days -%}
        {%- set found = run_query(
            "select file_id " ~ of_listings ~ " and exists (select 1 from (values (date '" ~ plan.days | join("'), (date '")
            ~ "')) as days (day) where day between cast(first_at as date) and cast(last_at as date)) order by landed_sequence"
        ) -%}
        {%- for row in found.rows -%}{%- do plan.files.append(folder ~ '/' ~ row[0] ~ '.parquet') -%}{%- endfor -%}
    {%- endif -%}
    {%- do plan.update({'is_full': is_full}) -%}
    {{ return(plan) }}
{%- endmacro %}

{# Whether no listings of the last build can be reused: there are none, other models computed them, or landed files are gone. #}
{% macro listings_need_full_refresh() -%}
    {{ return(listing_plan().is_full) }}
{%- endmacro %}

{# The files of listings that builds have read. In a schema of its own: see macros/utilisation.sql. #}
{% macro read_listings() -%}
    {{ return(state_table('read_listings', 'listing_state')) }}
{%- endmacro %}

{# The parts of listings that a build reads, as a relation. #}
{% macro listings_to_read(plan) -%}
    {%- set staged = ref('stg_running_listings') -%}
    {%- if plan.reads_all -%}
    {{ staged }}
    {%- else -%}
    {#- With the file that has all columns and no row, so that there is always one. -#}
    {%- set paths = [source_folder('raw', 'running_listings') ~ '/_schema.parquet'] -%}
    {%- for file in plan.files -%}{%- do paths.append(file) -%}{%- endfor -%}
    (
        select
            {{ running_listing_columns() | indent(8) }}
        from read_parquet({{ listed_files(paths) }}, hive_partitioning = false)
    )
    {%- endif -%}
{%- endmacro %}

{# A condition: `instant` is on a day that a build reads. A file may have other days too, of which not all files are read. #}
{% macro is_on_a_read_day(instant, plan) -%}
    {%- if plan.reads_all -%}
    true
    {%- elif plan.days -%}
    cast({{ instant }} as date) in (date '{{ plan.days | join("', date '") }}')
    {%- else -%}
    false
    {%- endif -%}
{%- endmacro %}

{# Pre-hook: deletes the days to recompute. A full refresh of `complete_listings` clears the state. #}
{% macro delete_listed_days(clears_state=false) -%}
    {%- if execute and target.type == 'duckdb' -%}
        {%- set plan = listing_plan() -%}
        {%- if plan.is_full and clears_state -%}
            create schema if not exists listing_state;
            create or replace table {{ read_listings() }} (file_id varchar, code_version varchar)
        {%- elif plan.days and not plan.is_full -%}
            delete from {{ this }} where listed_date in (date '{{ plan.days | join("', date '") }}')
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{# Post-hook of `listed_spans`, in its transaction: records the files that were read. #}
{% macro record_listings() -%}
    {%- if execute and target.type == 'duckdb' -%}
        insert into {{ read_listings() }}
        select file_id, (select code_version from {{ ref('stg_build_inputs') }}) from {{ ref('stg_landed_files') }}
        where kind = 'running' and accepted_rows > 0 and file_id not in (select file_id from {{ read_listings() }})
    {%- endif -%}
{%- endmacro %}

{# Whether any complete listing has landed: without one, models leave out all that reads listings. #}
{% macro has_listings() -%}
    {%- set listings = ref('complete_listings') -%}
    {%- if not execute -%}{{ return(true) }}{%- endif -%}
    {{ return(run_query("select count(*) from " ~ listings).rows[0][0] > 0) }}
{%- endmacro %}

{# Whether a listing had an effect on the sessions of the last build. #}
{% macro heard_listings_before() -%}
    {%- if not execute -%}{{ return(false) }}{%- endif -%}
    {{ return(run_query("select count(last_listed_at) from " ~ last_built('sandbox_sessions')).rows[0][0] > 0) }}
{%- endmacro %}

{# Billing rules, section 4: what listings say of sessions without a stop. `sessions`: a relation with timeline_key, session_number, sandbox_id,
   started_at, last_event_at and next_started_at (null: no later session). A row per session whose sandbox a listing has named: last_listed_at,
   the last listing that names it; last_listing_at, the last listing of the scope that named it last; is_displaced, whether another execution of
   the sandbox opened before the next session. Listings count until the next session or that opening, and up to as_of. #}
{% macro heard_listings(sessions) -%}
with

listed_sessions as (

    select sessions.*
    from {{ sessions }} as sessions
    where sessions.sandbox_id in (select sandbox_id from {{ ref('listed_spans') }})

),

events_of_listed_sandboxes as (

    select
        events.*,
        min(events.first_at) over (partition by events.timeline_key) as timeline_starts_at
    from {{ ref('execution_events') }} as events
    where
        events.sandbox_id in (select sandbox_id from listed_sessions)
        and events.execution_id <> ''
        and {{ changes_state('events') }}

),

openings as (

    select
        sandbox_id,
        timeline_key,
        first_at as opened_at
    from events_of_listed_sandboxes
    where {{ opens_an_execution() }}

    union all

    select
        events.sandbox_id,
        events.timeline_key,
        greatest(events.reported_start_at, build.books_open_at) as opened_at
    from events_of_listed_sandboxes as events
    cross join {{ ref('stg_build_inputs') }} as build
    where events.reported_start_at is not null

),

other_executions as (

    select
        sessions.timeline_key,
        sessions.session_number,
        min(openings.opened_at) as opened_at
    from openings
    inner join listed_sessions as sessions
        on
            openings.sandbox_id = sessions.sandbox_id
            and openings.timeline_key <> sessions.timeline_key
            and openings.opened_at > sessions.started_at
    group by sessions.timeline_key, sessions.session_number

),

-- until_at: exclusive.
bounded_sessions as (

    select
        sessions.timeline_key,
        sessions.session_number,
        sessions.sandbox_id,
        least(
            coalesce(sessions.next_started_at, {{ end_of_time() }}),
            coalesce(others.opened_at, {{ end_of_time() }}),
            {{ plus_microseconds('build.as_of', '1') }}
        ) as until_at,
        coalesce(others.opened_at < coalesce(sessions.next_started_at, {{ end_of_time() }}), false) as is_displaced
    from listed_sessions as sessions
    left join other_executions as others
        on
            sessions.timeline_key = others.timeline_key
            and sessions.session_number = others.session_number
    cross join {{ ref('stg_build_inputs') }} as build

),

sessions_by_scope as (

    select
        sessions.timeline_key,
        sessions.session_number,
        sessions.until_at,
        sessions.is_displaced,
        spans.scope,
        max(spans.last_listed_at) as last_listed_at
    from bounded_sessions as sessions
    inner join {{ ref('listed_spans') }} as spans
        on
            sessions.sandbox_id = spans.sandbox_id
            and spans.first_listed_at < sessions.until_at
    group by sessions.timeline_key, sessions.session_number, sessions.until_at, sessions.is_displaced, spans.scope

),

-- Ends and listings in one order; at one instant the end is first, because it is exclusive.
ends_and_listings as (

    select distinct
        scope,
        until_at as instant,
        0 as rank_at_instant,
        cast(null as timestamp) as listed_at
    from sessions_by_scope

    union all

    select
        scope,
        listed_at as instant,
        1 as rank_at_instant,
        listed_at
    from {{ ref('complete_listings') }}

),

last_listings as (

    select
        scope,
        instant,
        rank_at_instant,
        {{ last_known('listed_at') }} over (
            partition by scope order by instant, rank_at_instant
            rows between unbounded preceding and current row
        ) as last_listing_at
    from ends_and_listings

),

-- A span may go on after the end: all listings of its scope within it name the sandbox.
named_by_scope as (

    select
        sessions.timeline_key,
        sessions.session_number,
        sessions.is_displaced,
        least(sessions.last_listed_at, listings.last_listing_at) as last_listed_at,
        listings.last_listing_at
    from sessions_by_scope as sessions
    inner join last_listings as listings
        on
            sessions.scope = listings.scope
            and sessions.until_at = listings.instant
            and listings.rank_at_instant = 0

),

-- A sandbox that another scope has named since has moved there.
named_last as (

    select
        *,
        max(last_listed_at) over (partition by timeline_key, session_number) as named_last_at
    from named_by_scope

)

select
    timeline_key,
    session_number,
    is_displaced,
    named_last_at as last_listed_at,
    max(last_listing_at) as last_listing_at
from named_last
where last_listed_at = named_last_at
group by timeline_key, session_number, is_displaced, named_last_at
{%- endmacro %}

{# Condition on a session with what `heard_listings` gives: after its last sign of life, it is not listed any more. #}
{% macro is_gone_from_listings() -%}
    (last_listing_at > confirmed_until or is_displaced)
{%- endmacro %}

{# The sessions of the last build of which listings say something else now, with sandbox_id, execution_id and timeline_key. #}
{% macro relisted_sessions() -%}
{%- set unstopped_sessions -%}
(
    select
        *,
        lead(started_at) over (partition by timeline_key order by session_number) as next_started_at
    from {{ last_built('sandbox_sessions') }}
)
{%- endset -%}
with

unstopped_sessions as (

    select *
    from {{ unstopped_sessions }} as built_sessions
    where
        end_reason <> 'stopped'
        and not is_paused_at_end

),

heard_listings as (

    {{ heard_listings('unstopped_sessions') | indent(4) }}

),

sessions_with_listings as (

    select
        unstopped.timeline_key,
        unstopped.sandbox_id,
        unstopped.execution_id,
        unstopped.ended_at,
        unstopped.end_reason,
        unstopped.last_listed_at as previous_listed_at,
        heard.last_listed_at,
        heard.last_listing_at,
        heard.is_displaced,
        greatest(unstopped.last_event_at, heard.last_listed_at) as confirmed_until
    from unstopped_sessions as unstopped
    left join heard_listings as heard
        on
            unstopped.timeline_key = heard.timeline_key
            and unstopped.session_number = heard.session_number

)

select
    timeline_key,
    sandbox_id,
    execution_id
from sessions_with_listings
where
    last_listed_at is distinct from previous_listed_at
    or coalesce({{ is_gone_from_listings() }} and confirmed_until <= ended_at, false) <> (end_reason = 'gone_from_listing')
{%- endmacro %}
