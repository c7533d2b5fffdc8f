-- Billing rules, section 4 (conservation). Fails if the numbers of events do not agree: each event changes or confirms a session, carries a
-- billed quantity, or is in ignored_events. Over all of history, on every build.
with

compacted as (

    select
        coalesce(sum(event_count - quantity_event_count), 0) as event_count,
        coalesce(sum(quantity_event_count), 0) as quantity_event_count
    from {{ ref('compacted_events') }}

),

-- The events of days on which events belong to an execution that they do not name: as they came, and under their executions.
assigned_days as (

    select distinct
        sandbox_id,
        event_date
    from {{ ref('assigned_events') }}

),

before_assignment as (

    select
        coalesce(sum(events.event_count - events.quantity_event_count), 0) as event_count,
        coalesce(sum(events.quantity_event_count), 0) as quantity_event_count
    from {{ ref('compacted_events') }} as events
    inner join assigned_days
        on
            events.sandbox_id = assigned_days.sandbox_id
            and events.event_date = assigned_days.event_date

),

assigned as (

    select
        coalesce(sum(event_count - quantity_event_count), 0) as event_count,
        coalesce(sum(quantity_event_count), 0) as quantity_event_count
    from {{ ref('assigned_events') }}

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
    before_assignment.event_count as events_before_assignment,
    assigned.event_count as assigned_events,
    in_sessions.event_count as events_of_sessions,
    ignored.event_count as ignored_events,
    compacted.quantity_event_count as events_with_quantities_alone,
    quantities.event_count as recorded_quantity_events
from compacted
cross join before_assignment
cross join assigned
cross join in_sessions
cross join ignored
cross join quantities
where
    before_assignment.event_count <> assigned.event_count
    or before_assignment.quantity_event_count <> assigned.quantity_event_count
    or compacted.event_count <> in_sessions.event_count + ignored.event_count
    or compacted.quantity_event_count <> quantities.event_count
