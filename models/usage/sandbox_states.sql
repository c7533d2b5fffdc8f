-- Billing rules, section 4: the table of the effects of a start, a stop and an update, applied to the events of each timeline (sandbox and
-- execution) in order, where their order decides something (see `timelines`). A row of compacted heartbeats changes the state at its first instant and confirms it until its last. An update with
-- quantities alone changes no state; it confirms a running session, unless a silence longer than the heartbeat timeout precedes it (section 3).
{% set inputs = (
    ['timeline_key', 'customer_id', 'first_at', 'last_at', 'has_start', 'has_stop', 'has_update']
    + event_counts() + resource_columns() + ['as_of', 'heartbeat_timeout_seconds']
) %}
{# Read twice, but not stored: few timelines need the second read, and storing all rows costs memory. #}
{% set not_stored = 'not materialized ' if target.type == 'duckdb' else '' %}
with

timeline_rows as {{ not_stored }}(

    select
        events.*,
        events.has_start or events.has_stop or events.has_update as changes_state,
        build.as_of,
        build.heartbeat_timeout_seconds
    from {{ ref('compacted_events') }} as events
    inner join {{ ref('timelines') }} as timelines
        on
            events.timeline_key = timelines.timeline_key
            and not timelines.is_plain
    cross join {{ ref('stg_build_inputs') }} as build
    where events.has_start or events.has_stop or events.has_update or events.has_quantity_update

),

-- Only timelines with updates that carry quantities alone: most have none.
timelines_to_extend as (

    select distinct timeline_key
    from timeline_rows
    where not changes_state

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
            timeline_rows.timeline_key = timelines_to_extend.timeline_key
    window timeline as (
        partition by timeline_rows.timeline_key order by timeline_rows.first_at
    )

),

-- A row that changes the state and the rows that confirm it have one number; the next such row or a silence starts another.
numbered_rows as (

    select
        *,
        sum(case when changes_state or follows_a_gap then 1 else 0 end) over (
            partition by timeline_key order by first_at
            rows between unbounded preceding and current row
        ) as confirmation_number
    from rows_to_extend

),

extended_rows as (

    select
        *,
        max(last_at) over (partition by timeline_key, confirmation_number) as heard_until
    from numbered_rows

),

state_changes as (

    select
        {%- for input in inputs %}
        timeline_rows.{{ input }},
        {%- endfor %}
        timeline_rows.last_at as heard_until
    from timeline_rows
    left join timelines_to_extend
        on
            timeline_rows.timeline_key = timelines_to_extend.timeline_key
    where timelines_to_extend.timeline_key is null

    union all

    select
        {%- for input in inputs %}
        {{ input }},
        {%- endfor %}
        heard_until
    from extended_rows
    where changes_state

),

state_changes_in_order as (

    select
        *,
        first_at as event_at,
        lag(heard_until) over timeline as previous_last_at,
        lead(first_at) over timeline as next_first_at,
        coalesce(lead(has_start) over timeline, false) as precedes_a_start
    from state_changes
    window timeline as (partition by timeline_key order by first_at)

),

-- Billing rules, section 4: a silence longer than the heartbeat timeout ends the session before it.
state_changes_with_silences as (

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
    from state_changes_in_order

),

-- decides_running: whether the sandbox runs after the instant; null where the state before the instant stays in force.
decisions as (

    select
        *,
        case
            when has_start and not has_stop then true
            when has_stop and not has_start then false
            when has_start and has_stop and (is_first or follows_a_silence) then false
            when is_first then true
        end as decides_running
    from state_changes_with_silences

),

states as (

    select
        *,
        {{ last_known('decides_running') }} over (
            partition by timeline_key order by event_at
            rows between unbounded preceding and current row
        ) as is_running_after,
        {{ last_known('decides_running') }} over (
            partition by timeline_key order by event_at
            rows between unbounded preceding and 1 preceding
        ) as ran_before
    from decisions

),

states_with_state_before as (

    select
        *,
        coalesce(ran_before, false) and not follows_a_silence as is_running_before
    from states

),

states_with_openings as (

    select
        *,
        -- A start always opens a session; together with a stop while nothing runs, one of zero length. An update opens one where it is
        -- the timeline's first event, or the first after a silence.
        has_start or (not has_stop and is_running_after and not is_running_before) as opens_a_session
    from states_with_state_before

)

select
    timeline_key,
    customer_id,
    event_at,
    last_at,
    heard_until,
    has_start,
    has_stop,
    has_update,
    event_count - quantity_event_count as event_count,
    -- Superseded events are ignored. Without a start, so are updates at a stop, and all events of an instant at which nothing runs.
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
        partition by timeline_key order by event_at
        rows between unbounded preceding and current row
    ) as session_number
from states_with_openings
