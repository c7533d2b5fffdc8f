-- Billing rules, section 8: when a sandbox ran on a day: its sessions, of whatever execution, as one where they overlap or touch. A limit
-- on concurrency counts sandboxes, and not what they run.
with

sessions as (

    select
        customer_id,
        sandbox_id,
        session_id,
        started_at,
        ended_at,
        {{ starts_of_each('day', 'started_at', 'ended_at') }} as day_starts_at
    from {{ ref('sandbox_sessions') }}
    where
        started_at < ended_at
        and {{ may_touch_changed_days('started_at', 'ended_at') }}

),

days as (

    select
        customer_id,
        sandbox_id,
        session_id,
        cast(day_starts_at as date) as usage_date,
        greatest(started_at, day_starts_at) as started_at,
        least(ended_at, day_starts_at + interval 1 day) as ended_at
    from sessions

),

parts as (

    select days.*
    from days
    {{ of_changed_days('days') }}

),

-- Most sandboxes run once a day: there is nothing to put in order.
of_sandboxes as (

    select
        customer_id,
        sandbox_id,
        usage_date,
        count(*) as part_count,
        min(started_at) as started_at,
        max(ended_at) as ended_at
    from parts
    group by customer_id, sandbox_id, usage_date

),

several as (

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
    from parts
    inner join of_sandboxes
        on
            parts.customer_id = of_sandboxes.customer_id
            and parts.sandbox_id = of_sandboxes.sandbox_id
            and parts.usage_date = of_sandboxes.usage_date
    where of_sandboxes.part_count > 1

),

numbered as (

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
    from several

)

select
    customer_id,
    sandbox_id,
    usage_date,
    started_at,
    ended_at
from of_sandboxes
where part_count = 1
union all
select
    customer_id,
    sandbox_id,
    usage_date,
    min(started_at) as started_at,
    max(ended_at) as ended_at
from numbered
group by customer_id, sandbox_id, usage_date, run_number
