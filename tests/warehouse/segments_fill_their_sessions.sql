-- Fails if a session's segments are together longer or shorter than the session: time would be billed twice or not at all. Of the timelines
-- that the build recomputes; all of them in a full refresh.
with

segment_sums as (

    select
        session_id,
        sum(duration_microseconds) as duration_microseconds
    from {{ ref('usage_segments') }}
    group by session_id

)

select
    sessions.session_id,
    sessions.duration_microseconds,
    segment_sums.duration_microseconds as segments_microseconds
from {{ ref('sandbox_sessions') }} as sessions
{{ only_dirty_executions('sessions') }}
left join segment_sums on sessions.session_id = segment_sums.session_id
where
    sessions.duration_microseconds <> coalesce(segment_sums.duration_microseconds, 0)
    and {{ may_touch_dirty_days('sessions.started_at', 'sessions.ended_at') }}
