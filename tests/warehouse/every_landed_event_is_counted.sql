-- Billing rules, section 4 (conservation). Fails if accepted events are missing from compacted_events or are counted twice: usage would not be
-- billed, or billed twice. Over all of history, on every build.
with

landed as (

    select coalesce(sum(accepted_rows), 0) as event_count
    from {{ ref('stg_landed_files') }}
    where kind = 'usage'

),

compacted as (

    select coalesce(sum(event_count), 0) as event_count
    from {{ ref('compacted_events') }}

),

voided as (

    select count(*) as event_count
    from {{ ref('ignored_events') }}
    where reason = 'voided'

),

before_books as (

    select count(*) as event_count
    from {{ ref('events_before_books') }}

),

later as (

    select count(*) as event_count
    from {{ raw_events_of_files('files.last_at > build.as_of') }} as events
    cross join {{ ref('stg_build_inputs') }} as build
    where events.event_at > build.as_of

)

select
    landed.event_count as landed_events,
    compacted.event_count as events_of_sandboxes,
    voided.event_count as voided_events,
    before_books.event_count as events_before_books,
    later.event_count as events_after_as_of
from landed
cross join compacted
cross join voided
cross join before_books
cross join later
where landed.event_count <> compacted.event_count + voided.event_count + before_books.event_count + later.event_count
