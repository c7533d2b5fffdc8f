-- Billing rules, section 8: when a sandbox ran: its sessions, of whatever execution, as one where they overlap or touch. A limit on
-- concurrency counts sandboxes, and not what they run.
with

sessions as (

    select
        customer_id,
        sandbox_id,
        session_id,
        started_at,
        ended_at,
        max(ended_at) over (
            partition by customer_id, sandbox_id order by started_at, ended_at, session_id
            rows between unbounded preceding and 1 preceding
        ) as ended_before_at
    from {{ ref('sandbox_sessions') }}
    where started_at < ended_at

),

numbered as (

    select
        customer_id,
        sandbox_id,
        started_at,
        ended_at,
        sum(case when started_at <= ended_before_at then 0 else 1 end) over (
            partition by customer_id, sandbox_id order by started_at, ended_at, session_id
            rows between unbounded preceding and current row
        ) as run_number
    from sessions

)

select
    customer_id,
    sandbox_id,
    min(started_at) as started_at,
    max(ended_at) as ended_at
from numbered
group by customer_id, sandbox_id, run_number
