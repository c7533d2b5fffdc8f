-- Fails if two sessions of one sandbox and execution overlap, or one ends before it starts: time would be billed twice.
with

in_order as (

    select
        session_id,
        sandbox_id,
        execution_id,
        started_at,
        ended_at,
        lag(ended_at) over (
            partition by sandbox_id, execution_id
            order by started_at, ended_at
        ) as previous_ended_at
    from {{ ref('sandbox_sessions') }}

)

select
    session_id,
    sandbox_id,
    execution_id,
    started_at,
    ended_at,
    previous_ended_at
from in_order
where
    ended_at < started_at
    or started_at < previous_ended_at
