-- Billing rules, section 4 (conservation). Fails if events or held time are lost between compacted events, states, pieces of sessions and
-- segments. Of the timelines that the build recomputes; all of them in a full refresh.
with

compacted as (

    select coalesce(sum(events.event_count - events.quantity_event_count), 0) as event_count
    from {{ ref('compacted_events') }} as events
    {{ only_dirty_executions('events') }}

),

states as (

    select coalesce(sum(event_count), 0) as event_count
    from {{ ref('sandbox_states') }}

),

pieces as (

    select coalesce(sum({{ microseconds_between('started_at', 'ended_at') }}), 0) as duration_microseconds
    from {{ ref('session_pieces') }}

),

segments as (

    select coalesce(sum(duration_microseconds), 0) as duration_microseconds
    from {{ ref('usage_segments') }}

)

select
    compacted.event_count as events_of_sandboxes,
    states.event_count as events_of_states,
    pieces.duration_microseconds as microseconds_of_pieces,
    segments.duration_microseconds as microseconds_of_segments
from compacted
cross join states
cross join pieces
cross join segments
where
    compacted.event_count <> states.event_count
    or pieces.duration_microseconds <> segments.duration_microseconds
