-- Billing rules, section 4: the table of the effects of events, applied to the events of each timeline (sandbox and execution) in order, where
-- their order decides something (see `ordered_timelines`). A row of compacted heartbeats changes the state at its first instant and confirms it until
-- its last. An update with quantities alone changes no state; it confirms a running session, unless a silence longer than the heartbeat timeout
-- precedes it (section 3).
{% set resources = resource_columns() + closing_resource_columns() %}
{% set flags = ['has_start', 'has_stop', 'has_update', 'has_heartbeat', 'has_pause', 'has_resume'] %}
{% set inputs = (
    ['timeline_key', 'customer_id', 'first_at', 'last_at'] + flags + ['is_reported_opening', 'sends_heartbeats', 'is_paused_after']
    + event_counts() + resources + ['as_of', 'heartbeat_timeout_seconds']
) %}
{# Read twice, but not stored: few timelines need the second read, and storing all rows costs memory. #}
{% set not_stored = 'not materialized ' if target.type == 'duckdb' else '' %}
with

events_to_order as {{ not_stored }}(

    select events.*
    from {{ ref('dirty_events') }} as events
    where
        events.timeline_key in (select timeline_key from {{ ref('ordered_timelines') }})
        and ({{ changes_state('events') }} or events.has_quantity_update)

),

event_rows as {{ not_stored }}(

    select
        events.timeline_key,
        events.customer_id,
        events.first_at,
        events.last_at,
        {%- for column in flags + event_counts() + resources %}
        events.{{ column }},
        {%- endfor %}
        openings.opening_at is not null as is_reported_opening
    from {{ in_order('events_to_order') | indent(4) }} as events
    left join {{ ref('reported_openings') }} as openings
        on
            events.timeline_key = openings.timeline_key
            and events.first_at = openings.opening_at

),

-- Reported openings at instants without an event.
added_rows as (

    select
        openings.timeline_key,
        timelines.customer_id,
        openings.opening_at as first_at,
        openings.opening_at as last_at,
        {%- for flag in flags %}
        false as {{ flag }},
        {%- endfor %}
        {%- for count in event_counts() %}
        0 as {{ count }},
        {%- endfor %}
        {%- for resource in resources %}
        cast(null as decimal(18, 6)) as {{ resource }},
        {%- endfor %}
        true as is_reported_opening
    from {{ ref('reported_openings') }} as openings
    inner join {{ ref('ordered_timelines') }} as timelines on openings.timeline_key = timelines.timeline_key
    left join event_rows
        on
            openings.timeline_key = event_rows.timeline_key
            and openings.opening_at = event_rows.first_at
    where event_rows.timeline_key is null

),

timeline_rows as {{ not_stored }}(

    select * from event_rows
    union all
    select * from added_rows

),

-- A heartbeat at the instant of a start, a stop or a reported opening belongs to what follows. Of one instant a pause acts last.
rows_by_run as (

    select
        timeline_rows.*,
        {{ changes_state('timeline_rows') }} or timeline_rows.is_reported_opening as changes_state,
        sum(
            case when timeline_rows.has_start or timeline_rows.has_stop or timeline_rows.is_reported_opening then 1 else 0 end
        ) over so_far as run_number,
        coalesce({{ last_known(
            'case when timeline_rows.has_pause then true'
            ~ ' when timeline_rows.has_start or timeline_rows.has_resume or timeline_rows.is_reported_opening then false end'
        ) }} over so_far, false) as is_paused_after
    from timeline_rows
    window so_far as (
        partition by timeline_rows.timeline_key order by timeline_rows.first_at
        rows between unbounded preceding and current row
    )

),

rows_with_heartbeats as {{ not_stored }}(

    select
        rows_by_run.*,
        build.as_of,
        build.heartbeat_timeout_seconds,
        max(case when rows_by_run.has_heartbeat then 1 else 0 end) over (
            partition by rows_by_run.timeline_key, rows_by_run.run_number order by rows_by_run.first_at
            rows between unbounded preceding and current row
        ) = 1 as sends_heartbeats
    from rows_by_run
    cross join {{ ref('stg_build_inputs') }} as build

),

-- Only timelines with updates that carry quantities alone: most have none.
timelines_to_extend as (

    select distinct timeline_key
    from rows_with_heartbeats
    where not changes_state

),

rows_to_extend as (

    select
        events.*,
        coalesce(
            lag(events.sends_heartbeats and not events.is_paused_after) over timeline
            and {{ microseconds_between('lag(events.last_at) over timeline', 'events.first_at') }}
            > events.heartbeat_timeout_seconds * 1000000, false
        ) as follows_a_gap
    from rows_with_heartbeats as events
    inner join timelines_to_extend
        on
            events.timeline_key = timelines_to_extend.timeline_key
    window timeline as (
        partition by events.timeline_key order by events.first_at
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
        events.{{ input }},
        {%- endfor %}
        events.last_at as heard_until
    from rows_with_heartbeats as events
    left join timelines_to_extend
        on
            events.timeline_key = timelines_to_extend.timeline_key
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
        coalesce(lag(sends_heartbeats and not is_paused_after) over timeline, false) as could_fall_silent_before,
        sends_heartbeats and not is_paused_after as can_fall_silent,
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
            could_fall_silent_before
            and {{ microseconds_between('previous_last_at', 'event_at') }} > heartbeat_timeout_seconds * 1000000, false
        ) as follows_a_silence,
        coalesce(
            can_fall_silent
            and {{ microseconds_between('heard_until', 'coalesce(next_first_at, as_of)') }} > heartbeat_timeout_seconds * 1000000,
            false
        ) as precedes_a_silence
    from state_changes_in_order

),

-- decides_running: whether the sandbox runs after the instant; null where the state before the instant stays in force.
decisions as (

    select
        *,
        has_start or has_resume as has_opening,
        case
            when is_reported_opening then true
            when (has_start or has_resume) and not has_stop then true
            when has_stop and not (has_start or has_resume) then false
            when has_stop and (is_first or follows_a_silence) then false
            when is_first then has_update or has_heartbeat
            when follows_a_silence and not has_update and not has_heartbeat then false
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
        -- A start always opens a session, and so does a resume where nothing runs or together with a stop; with a stop while nothing runs, one
        -- of zero length. An update opens one where it is the timeline's first event, or the first after a silence.
        has_start
        or (is_running_after and (has_stop or not is_running_before))
        or (has_resume and has_stop) as opens_a_session
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
    has_pause,
    has_resume,
    event_count - quantity_event_count as event_count,
    -- Superseded events are ignored. Where nothing runs after the instant and nothing opened at it, so are all updates.
    case when has_opening or is_running_after then superseded_count else update_count end
    + case when has_stop and not has_opening and not is_running_before then stop_count else 0 end
    + case when is_running_after then 0 else pause_count end as ignored_event_count,
    {%- for column in resources %}
    {{ column }},
    {%- endfor %}
    is_running_before,
    is_running_after,
    is_paused_after,
    precedes_a_silence,
    precedes_a_start,
    opens_a_session,
    has_stop and is_running_before as stops_a_session,
    sum(case when opens_a_session then 1 else 0 end) over (
        partition by timeline_key order by event_at
        rows between unbounded preceding and current row
    ) as session_number
from states_with_openings
