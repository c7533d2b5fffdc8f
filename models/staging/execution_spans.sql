{{ config(materialized='table') }}
-- Billing rules, section 4: when the executions of mixed sandboxes run, by the events that name them: from a start, a resume, a reported start
-- or the first update to the next stop.
with

events_of_mixed_sandboxes as (

    select events.*
    from {{ ref('compacted_events') }} as events
    inner join {{ ref('mixed_sandboxes') }} as mixed on events.sandbox_id = mixed.sandbox_id
    where
        events.execution_id <> ''
        and {{ changes_state('events') }}

),

own_events as (

    select
        events.*,
        min(events.first_at) over (partition by events.timeline_key) as timeline_starts_at
    from {{ in_order('events_of_mixed_sandboxes') | indent(4) }} as events

),

marks as (

    select
        sandbox_id,
        execution_id,
        first_at as marked_at,
        {{ opens_an_execution() | indent(8) }} as opens,
        has_stop as stops
    from own_events

    union all

    select
        events.sandbox_id,
        events.execution_id,
        greatest(events.reported_start_at, build.books_open_at) as marked_at,
        true as opens,
        false as stops
    from own_events as events
    cross join {{ ref('stg_build_inputs') }} as build
    where events.reported_start_at is not null

),

instants as (

    select
        sandbox_id,
        execution_id,
        marked_at,
        max(case when opens then 1 else 0 end) = 1 as opens,
        max(case when stops then 1 else 0 end) = 1 as stops
    from marks
    where opens or stops
    group by sandbox_id, execution_id, marked_at

),

-- A start and a stop together leave the state as it was.
states as (

    select
        *,
        coalesce({{ last_known('case when opens <> stops then opens end') }} over (
            partition by sandbox_id, execution_id order by marked_at
            rows between unbounded preceding and current row
        ), false) as is_running_after,
        lead(marked_at) over (partition by sandbox_id, execution_id order by marked_at) as next_marked_at
    from instants

),

last_events as (

    select
        sandbox_id,
        execution_id,
        max(last_at) as last_event_at
    from own_events
    group by sandbox_id, execution_id

),

-- An execution without a stop runs until another one starts or resumes after its last event.
other_executions as (

    select
        last_events.sandbox_id,
        last_events.execution_id,
        min(others.first_at) as started_at
    from last_events
    inner join own_events as others
        on
            last_events.sandbox_id = others.sandbox_id
            and last_events.execution_id <> others.execution_id
            and others.first_at > last_events.last_event_at
    where others.has_start or others.has_resume
    group by last_events.sandbox_id, last_events.execution_id

)

select
    states.sandbox_id,
    states.execution_id,
    states.marked_at as opened_at,
    case
        when not states.is_running_after then states.marked_at
        else coalesce(states.next_marked_at, others.started_at)
    end as ended_at
from states
left join other_executions as others
    on
        states.sandbox_id = others.sandbox_id
        and states.execution_id = others.execution_id
where
    states.is_running_after
    or states.opens
