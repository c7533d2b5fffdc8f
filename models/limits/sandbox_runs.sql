-- Billing rules, section 8: several executions of one sandbox count once. Sessions of a sandbox that overlap or touch are one run, cut at
-- midnight UTC.
with

-- The time of a pause does not count.
runs as (

    select
        customer_id,
        sandbox_id,
        session_id,
        started_at,
        ended_at
    from {{ ref('sandbox_sessions') }}
    where paused_microseconds = 0

    union all

    select
        customer_id,
        sandbox_id,
        session_id,
        started_at,
        ended_at
    from {{ ref('running_spans') }}

),

sessions_with_days as (

    select
        customer_id,
        sandbox_id,
        session_id,
        started_at,
        ended_at,
        {{ starts_of_each('day', 'started_at', 'ended_at') }} as day_starts_at
    from runs
    where
        started_at < ended_at
        and {{ may_touch_dirty_days('started_at', 'ended_at') }}

),

session_days as (

    select
        customer_id,
        sandbox_id,
        session_id,
        cast(day_starts_at as date) as usage_date,
        greatest(started_at, day_starts_at) as started_at,
        least(ended_at, day_starts_at + interval 1 day) as ended_at
    from sessions_with_days

),

changed_session_days as (

    select session_days.*
    from session_days
    {{ only_dirty_customer_days('session_days') }}

),

-- Most sandboxes have one session a day and need no window function.
sandbox_days as (

    select
        customer_id,
        sandbox_id,
        usage_date,
        count(*) as part_count,
        min(started_at) as started_at,
        max(ended_at) as ended_at
    from changed_session_days
    group by customer_id, sandbox_id, usage_date

),

parts_of_busy_days as (

    select
        parts.customer_id,
        parts.sandbox_id,
        parts.usage_date,
        parts.session_id,
        parts.started_at,
        parts.ended_at,
        max(parts.ended_at) over (
            partition by parts.customer_id, parts.sandbox_id, parts.usage_date
            order by parts.started_at, parts.ended_at, parts.session_id
            rows between unbounded preceding and 1 preceding
        ) as ended_before_at
    from changed_session_days as parts
    inner join sandbox_days
        on
            parts.customer_id = sandbox_days.customer_id
            and parts.sandbox_id = sandbox_days.sandbox_id
            and parts.usage_date = sandbox_days.usage_date
    where sandbox_days.part_count > 1

),

numbered_parts as (

    select
        customer_id,
        sandbox_id,
        usage_date,
        started_at,
        ended_at,
        sum(case when started_at <= ended_before_at then 0 else 1 end) over (
            partition by customer_id, sandbox_id, usage_date order by started_at, ended_at, session_id
            rows between unbounded preceding and current row
        ) as run_number
    from parts_of_busy_days

)

select
    customer_id,
    usage_date,
    started_at,
    ended_at
from sandbox_days
where part_count = 1
union all
select
    customer_id,
    usage_date,
    min(started_at) as started_at,
    max(ended_at) as ended_at
from numbered_parts
group by customer_id, sandbox_id, usage_date, run_number
