-- Billing rules, section 4: the instants at which a session opens, or a paused one runs again, because a stop or a pause reports it: no start
-- and no resume of the timeline is known since its previous stop or pause.
with

closing_timelines as (

    select distinct timelines.timeline_key
    from {{ ref('compacted_events') }} as events
    inner join {{ ref('timelines') }} as timelines
        on
            events.timeline_key = timelines.timeline_key
            and not timelines.is_plain
    where events.reported_start_at is not null

),

timeline_rows as (

    select
        events.timeline_key,
        events.first_at,
        events.last_at,
        events.has_stop or events.has_pause as is_closing,
        events.has_start or events.has_resume as is_opening,
        events.has_update or events.has_heartbeat as is_update,
        events.reported_start_at
    from {{ ref('compacted_events') }} as events
    inner join closing_timelines
        on events.timeline_key = closing_timelines.timeline_key
    where {{ changes_state('events') }}

),

rows_with_last_events as (

    select
        *,
        max(case when is_opening then first_at end) over (
            partition by timeline_key order by first_at rows between unbounded preceding and current row
        ) as opened_at,
        max(case when is_closing then first_at end) over (
            partition by timeline_key order by first_at rows between unbounded preceding and 1 preceding
        ) as closed_at,
        coalesce(sum(case when is_closing then 1 else 0 end) over (
            partition by timeline_key order by first_at rows between unbounded preceding and 1 preceding
        ), 0) as closing_number
    from timeline_rows

),

updates as (

    select
        events.timeline_key,
        events.closing_number,
        events.first_at,
        events.last_at,
        coalesce(
            {{ microseconds_between('lag(events.last_at) over timeline', 'events.first_at') }}
            > build.heartbeat_timeout_seconds * 1000000, false
        ) as follows_a_silence
    from rows_with_last_events as events
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

-- Updates since the previous stop or pause without a silence between them show that the sandbox ran from the first to the last.
heard_spans as (

    select
        timeline_key,
        closing_number,
        min(first_at) as first_at,
        max(last_at) as last_at
    from numbered_updates
    group by timeline_key, closing_number, silence_number

),

openings as (

    select
        events.timeline_key,
        events.first_at,
        greatest(
            coalesce(spans.first_at, events.reported_start_at), build.books_open_at, coalesce(events.closed_at, build.books_open_at)
        ) as opening_at
    from rows_with_last_events as events
    cross join {{ ref('stg_build_inputs') }} as build
    left join heard_spans as spans
        on
            events.timeline_key = spans.timeline_key
            and events.closing_number = spans.closing_number
            and events.reported_start_at >= spans.first_at
            and events.reported_start_at <= spans.last_at
    where
        events.reported_start_at is not null
        and (events.opened_at is null or events.opened_at <= events.closed_at)

)

select distinct
    timeline_key,
    opening_at
from openings
where opening_at < first_at
