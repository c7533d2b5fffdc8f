{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_executions() }}"
) }}
-- depends_on: {{ ref('stale_sessions') }}
-- Billing rules, section 4: when the sessions with a pause ran. Other sessions run from their start to their end.
with

states as (

    select
        timeline_key,
        session_number,
        event_at,
        is_running_after and not is_paused_after as is_running,
        lead(event_at) over timeline as next_event_at,
        lead(session_number) over timeline as next_session_number
    from {{ ref('sandbox_states') }}
    window timeline as (partition by timeline_key order by event_at)

),

spans as (

    select
        sessions.session_key,
        sessions.session_id,
        sessions.timeline_key,
        sessions.customer_id,
        sessions.sandbox_id,
        states.event_at as started_at,
        case
            when states.next_session_number = states.session_number then least(states.next_event_at, sessions.ended_at)
            else sessions.ended_at
        end as ended_at
    from states
    inner join {{ ref('sandbox_sessions') }} as sessions
        on
            states.timeline_key = sessions.timeline_key
            and states.session_number = sessions.session_number
    where
        states.is_running
        and sessions.paused_microseconds > 0

)

select
    session_key,
    session_id,
    timeline_key,
    customer_id,
    sandbox_id,
    started_at,
    ended_at,
    cast(coalesce(sum({{ microseconds_between('started_at', 'ended_at') }}) over (
        partition by session_key order by started_at rows between unbounded preceding and 1 preceding
    ), 0) as bigint) as ran_before_microseconds
from spans
