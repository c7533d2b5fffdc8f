-- Billing rules, section 4 (conservation). Fails if events, held time or held resources are lost between compacted events, states, pieces of
-- sessions and segments. Of the timelines that the build recomputes; all of them in a full refresh.
with

compacted as (

    select coalesce(sum(event_count - quantity_event_count), 0) as event_count
    from {{ ref('dirty_events') }}

),

without_execution as (

    select count(*) as event_count
    from {{ ref('ignored_events') }} as events
    {{ only_dirty_executions('events') }}
    where events.reason = 'no_execution'

),

states as (

    select coalesce(sum(event_count), 0) as event_count
    from {{ ref('sandbox_states') }}

),

timelines as (

    select
        coalesce(sum(event_count), 0) as event_count,
        coalesce(sum(case when is_plain then event_count else 0 end), 0) as plain_event_count
    from {{ ref('timelines') }}

),

pieces as (

    select
        {%- for resource in resource_columns() %}
        coalesce(sum({{ unit_microseconds(resource, microseconds_between('started_at', 'ended_at')) }}), 0)
            as {{ resource }}_microseconds,
        {%- endfor %}
        coalesce(sum({{ microseconds_between('started_at', 'ended_at') }}), 0) as duration_microseconds
    from {{ ref('session_pieces') }}

),

segments as (

    select
        {%- for resource in resource_columns() %}
        coalesce(sum({{ unit_microseconds('segments.' ~ resource, 'segments.duration_microseconds') }}), 0)
            as {{ resource }}_microseconds,
        {%- endfor %}
        coalesce(sum(segments.duration_microseconds), 0) as duration_microseconds
    from {{ ref('usage_segments') }} as segments
    {{ only_dirty_executions('segments') }}
    where {{ may_touch_dirty_days('segments.started_at', 'segments.ended_at') }}

)

select
    compacted.event_count as events_of_sandboxes,
    without_execution.event_count as events_without_execution,
    states.event_count as events_of_states,
    timelines.event_count as events_of_timelines,
    timelines.plain_event_count as events_of_plain_timelines,
    pieces.duration_microseconds as microseconds_of_pieces,
    segments.duration_microseconds as microseconds_of_segments
    {%- for resource in resource_columns() %},
    pieces.{{ resource }}_microseconds as {{ resource }}_microseconds_of_pieces,
    segments.{{ resource }}_microseconds as {{ resource }}_microseconds_of_segments
    {%- endfor %}
from compacted
cross join without_execution
cross join states
cross join timelines
cross join pieces
cross join segments
where
    compacted.event_count <> timelines.event_count + without_execution.event_count
    or timelines.event_count <> states.event_count + timelines.plain_event_count
    or pieces.duration_microseconds <> segments.duration_microseconds
    {%- for resource in resource_columns() %}
    or pieces.{{ resource }}_microseconds <> segments.{{ resource }}_microseconds
    {%- endfor %}
