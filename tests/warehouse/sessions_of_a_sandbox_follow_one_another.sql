-- Fails if two sessions of one sandbox and execution overlap, or one ends before it starts: time would be billed twice. Of the timelines that
-- the build recomputes; all of them in a full refresh.
with

sessions_in_order as (

    select
        sessions.session_id,
        sessions.sandbox_id,
        sessions.execution_id,
        sessions.started_at,
        sessions.ended_at,
        lag(sessions.ended_at) over (
            partition by sessions.timeline_key
            order by sessions.started_at, sessions.ended_at
        ) as previous_ended_at
    from {{ ref('sandbox_sessions') }} as sessions
    {{ only_dirty_executions('sessions') }}
    where {{ may_touch_dirty_days('sessions.started_at', 'sessions.ended_at') }}

)

select
    session_id,
    sandbox_id,
    execution_id,
    started_at,
    ended_at,
    previous_ended_at
from sessions_in_order
where
    ended_at < started_at
    or started_at < previous_ended_at
