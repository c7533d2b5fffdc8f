-- Fails if a session's segments are together longer or shorter than the session: time would be billed twice or not at all. Of the timelines
-- that the build recomputes; all of them in a full refresh.
select
    sessions.session_id,
    sessions.duration_microseconds,
    sessions.paused_microseconds,
    usage.duration_microseconds as segments_microseconds
from {{ ref('sandbox_sessions') }} as sessions
{{ only_dirty_executions('sessions') }}
left join {{ ref('session_usage') }} as usage on sessions.session_key = usage.session_key
where
    sessions.duration_microseconds + sessions.paused_microseconds <> coalesce(usage.duration_microseconds, 0)
    and {{ may_touch_dirty_days('sessions.started_at', 'sessions.ended_at') }}
