-- Billing rules, section 4 (conservation). Fails if the numbers of events do not agree: each event changes or confirms a session, carries a
-- billed quantity, or is in ignored_events. Over all of history, on every build.
with

compacted as (

    select
        coalesce(sum(event_count - quantity_event_count), 0) as event_count,
        coalesce(sum(quantity_event_count), 0) as quantity_event_count
    from {{ ref('compacted_events') }}

),

-- The same events, under the executions that they belong to.
of_executions as (

    select
        coalesce(sum(event_count - quantity_event_count), 0) as event_count,
        coalesce(sum(quantity_event_count), 0) as quantity_event_count
    from {{ ref('execution_events') }}

),

in_sessions as (

    select coalesce(sum(event_count), 0) as event_count
    from {{ ref('sandbox_sessions') }}

),

ignored as (

    select count(*) as event_count
    from {{ ref('ignored_events') }}
    where reason <> 'voided'

),

quantities as (

    select coalesce(sum(quantity_event_count), 0) as event_count
    from {{ ref('recorded_quantities') }}

)

select
    compacted.event_count as events_of_sandboxes,
    of_executions.event_count as events_of_executions,
    in_sessions.event_count as events_of_sessions,
    ignored.event_count as ignored_events,
    compacted.quantity_event_count as events_with_quantities_alone,
    quantities.event_count as recorded_quantity_events
from compacted
cross join of_executions
cross join in_sessions
cross join ignored
cross join quantities
where
    compacted.event_count <> of_executions.event_count
    or compacted.quantity_event_count <> of_executions.quantity_event_count
    or compacted.event_count <> in_sessions.event_count + ignored.event_count
    or compacted.quantity_event_count <> quantities.event_count
