-- Billing rules, section 4: the table of what a start, a stop and an update do, applied to all that every sandbox was told. A row of
-- folded heartbeats acts at its first instant, and is heard until its last.
with

in_order as (

    select
        events.*,
        events.first_at as event_at,
        build.as_of,
        build.heartbeat_timeout_seconds,
        lag(events.last_at) over timeline as previous_last_at,
        lead(events.first_at) over timeline as next_first_at,
        coalesce(lead(events.has_start) over timeline, false) as precedes_a_start
    from {{ ref('folded_events') }} as events
    {{ of_changed_timelines('events') }}
    cross join {{ ref('stg_build_inputs') }} as build
    window timeline as (partition by events.sandbox_id, events.execution_id order by events.first_at)

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
            {{ microseconds_between('last_at', 'coalesce(next_first_at, as_of)') }} > heartbeat_timeout_seconds * 1000000,
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
    has_start,
    has_stop,
    has_update,
    {%- for column in resource_columns() + quantity_columns() %}
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
