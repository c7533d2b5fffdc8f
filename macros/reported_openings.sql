{# The instants at which sessions of some timelines open because a later stop or pause reports it: no start and no resume is known since the
   previous stop. Billing rules, section 4. `timelines`: a relation with the column timeline_key. `events`: a relation with their events. #}
{% macro reported_openings_of(timelines, events) -%}
with

events_of_timelines as (

    select events.*
    from {{ events }} as events
    inner join {{ timelines }} as reporting
        on events.timeline_key = reporting.timeline_key
    where {{ changes_state('events') }}

),

timeline_rows as (

    select
        events.timeline_key,
        events.first_at,
        events.last_at,
        events.has_stop,
        events.has_stop or events.has_pause as is_closing,
        events.has_start or events.has_resume as is_opening,
        events.has_update or events.has_heartbeat as is_update,
        events.reported_start_at
    from {{ in_order('events_of_timelines') | indent(4) }} as events

),

rows_with_numbers as (

    select
        *,
        coalesce(sum(case when has_stop then 1 else 0 end) over earlier, 0) as stop_number,
        coalesce(sum(case when is_closing then 1 else 0 end) over earlier, 0) as closing_number,
        max(case when is_opening then first_at end) over earlier as opened_at
    from timeline_rows
    window earlier as (
        partition by timeline_key order by first_at rows between unbounded preceding and 1 preceding
    )

),

-- A stop of which nothing says that something ran before it stops nothing.
rows_with_stops as (

    select
        *,
        has_stop and max(case when is_opening or is_update or reported_start_at is not null then 1 else 0 end) over (
            partition by timeline_key, stop_number order by first_at rows between unbounded preceding and current row
        ) = 1 as stops_something
    from rows_with_numbers

),

rows_with_last_stop as (

    select
        *,
        max(case when stops_something then first_at end) over (
            partition by timeline_key order by first_at rows between unbounded preceding and 1 preceding
        ) as stopped_at
    from rows_with_stops

),

updates as (

    select
        events.timeline_key,
        events.stop_number,
        events.closing_number,
        events.first_at,
        events.last_at,
        coalesce(
            {{ microseconds_between('lag(events.last_at) over timeline', 'events.first_at') }}
            > build.heartbeat_timeout_seconds * 1000000, false
        ) as follows_a_silence
    from rows_with_last_stop as events
    cross join {{ ref('stg_build_inputs') }} as build
    where events.is_update and not events.is_closing
    window timeline as (partition by events.timeline_key, events.closing_number order by events.first_at)

),

numbered_updates as (

    select
        *,
        sum(case when follows_a_silence then 1 else 0 end) over (
            partition by timeline_key, closing_number order by first_at
            rows between unbounded preceding and current row
        ) as silence_number
    from updates

),

-- Updates of one day without a stop, a pause or a silence between them show that the sandbox ran from the first to the last.
heard_spans as (

    select
        timeline_key,
        stop_number,
        min(first_at) as first_at,
        max(last_at) as last_at
    from numbered_updates
    group by timeline_key, stop_number, closing_number, silence_number, cast(first_at as date)

),

openings as (

    select
        events.timeline_key,
        events.stop_number,
        events.first_at,
        greatest(events.reported_start_at, build.books_open_at) as opening_at
    from rows_with_last_stop as events
    cross join {{ ref('stg_build_inputs') }} as build
    where
        events.reported_start_at is not null
        and (events.stopped_at is null or events.reported_start_at > events.stopped_at)
        and (events.opened_at is null or events.opened_at <= events.stopped_at)

)

select distinct
    openings.timeline_key,
    openings.opening_at
from openings
left join heard_spans as spans
    on
        openings.timeline_key = spans.timeline_key
        and openings.stop_number = spans.stop_number
        and spans.last_at < openings.first_at
        and openings.opening_at > spans.first_at
        and openings.opening_at <= spans.last_at
where
    openings.opening_at < openings.first_at
    and spans.timeline_key is null
{%- endmacro %}
