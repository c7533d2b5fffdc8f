-- Billing rules, section 4: the table of what a start, a stop and an update do, applied to all that every sandbox was told. A row of
-- folded heartbeats acts at its first instant, and is heard until its last. An update that carries quantities alone does not act; it
-- confirms a session that runs, unless a silence lies before it.
{% set inputs = (
    ['sandbox_id', 'execution_id', 'customer_id', 'first_at', 'last_at', 'has_start', 'has_stop', 'has_update']
    + event_counts() + resource_columns() + ['as_of', 'heartbeat_timeout_seconds']
) %}
{# Most timelines have nothing to extend: to keep all rows for a second look would cost memory. #}
{% set once_more = 'not materialized ' if target.type == 'duckdb' else '' %}
with

timeline_rows as {{ once_more }}(

    select
        events.*,
        events.has_start or events.has_stop or events.has_update as acts,
        build.as_of,
        build.heartbeat_timeout_seconds
    from {{ ref('folded_events') }} as events
    {{ of_changed_timelines('events') }}
    cross join {{ ref('stg_build_inputs') }} as build
    where events.has_start or events.has_stop or events.has_update or events.has_quantity_update

),

-- Timelines without an update that carries quantities alone, which are most, need no second look.
timelines_to_extend as (

    select distinct
        sandbox_id,
        execution_id
    from timeline_rows
    where not acts

),

rows_to_extend as (

    select
        timeline_rows.*,
        coalesce(
            {{ microseconds_between('lag(timeline_rows.last_at) over timeline', 'timeline_rows.first_at') }}
            > timeline_rows.heartbeat_timeout_seconds * 1000000, false
        ) as follows_a_gap
    from timeline_rows
    inner join timelines_to_extend
        on
            timeline_rows.sandbox_id = timelines_to_extend.sandbox_id
            and timeline_rows.execution_id = timelines_to_extend.execution_id
    window timeline as (
        partition by timeline_rows.sandbox_id, timeline_rows.execution_id order by timeline_rows.first_at
    )

),

-- What acts, with what confirms it: up to the next row that acts, or the next silence.
confirmations as (

    select
        *,
        sum(case when acts or follows_a_gap then 1 else 0 end) over (
            partition by sandbox_id, execution_id order by first_at
            rows between unbounded preceding and current row
        ) as confirmation_number
    from rows_to_extend

),

extended_rows as (

    select
        *,
        max(last_at) over (partition by sandbox_id, execution_id, confirmation_number) as heard_until
    from confirmations

),

acting_rows as (

    select
        {%- for input in inputs %}
        timeline_rows.{{ input }},
        {%- endfor %}
        timeline_rows.last_at as heard_until
    from timeline_rows
    left join timelines_to_extend
        on
            timeline_rows.sandbox_id = timelines_to_extend.sandbox_id
            and timeline_rows.execution_id = timelines_to_extend.execution_id
    where timelines_to_extend.sandbox_id is null

    union all

    select
        {%- for input in inputs %}
        {{ input }},
        {%- endfor %}
        heard_until
    from extended_rows
    where acts

),

in_order as (

    select
        *,
        first_at as event_at,
        lag(heard_until) over timeline as previous_last_at,
        lead(first_at) over timeline as next_first_at,
        coalesce(lead(has_start) over timeline, false) as precedes_a_start
    from acting_rows
    window timeline as (partition by sandbox_id, execution_id order by first_at)

),

-- For collectors that tick: a silence longer than the timeout ends whatever ran before it.
with_silences as (

    select
        *,
        previous_last_at is null as is_first,
        coalesce(
            {{ microseconds_between('previous_last_at', 'event_at') }} > heartbeat_timeout_seconds * 1000000, false
        ) as follows_a_silence,
        coalesce(
            {{ microseconds_between('heard_until', 'coalesce(next_first_at, as_of)') }} > heartbeat_timeout_seconds * 1000000,
            false
        ) as precedes_a_silence
    from in_order

),

-- Whether the sandbox runs after the instant, where the instant alone decides it; else (null) it stays as it was.
decided as (

    select
        *,
        case
            when has_start and not has_stop then true
            when has_stop and not has_start then false
            when has_start and has_stop and (is_first or follows_a_silence) then false
            when is_first then true
        end as decides_running
    from with_silences

),

states as (

    select
        *,
        {{ last_known('decides_running') }} over (
            partition by sandbox_id, execution_id order by event_at
            rows between unbounded preceding and current row
        ) as is_running_after,
        {{ last_known('decides_running') }} over (
            partition by sandbox_id, execution_id order by event_at
            rows between unbounded preceding and 1 preceding
        ) as ran_before
    from decided

),

with_state_before as (

    select
        *,
        coalesce(ran_before, false) and not follows_a_silence as is_running_before
    from states

),

openings as (

    select
        *,
        -- A start always opens a session (with a stop on the same instant and nothing running: one of zero length);
        -- an update opens one where it is the sandbox's first word, or its first after a silence.
        has_start or (not has_stop and is_running_after and not is_running_before) as opens_a_session
    from with_state_before

)

select
    sandbox_id,
    execution_id,
    customer_id,
    event_at,
    last_at,
    heard_until,
    has_start,
    has_stop,
    has_update,
    event_count - quantity_event_count as event_count,
    -- Of a start every event of the instant acts or confirms, but those that another of their kind overrules.
    case
        when has_start or is_running_after then superseded_count
        when has_stop and is_running_before then update_count
        else stop_count + update_count
    end as ignored_event_count,
    {%- for column in resource_columns() %}
    {{ column }},
    {%- endfor %}
    is_running_before,
    is_running_after,
    precedes_a_silence,
    precedes_a_start,
    opens_a_session,
    has_stop and is_running_before as stops_a_session,
    sum(case when opens_a_session then 1 else 0 end) over (
        partition by sandbox_id, execution_id order by event_at
        rows between unbounded preceding and current row
    ) as session_number
from openings
