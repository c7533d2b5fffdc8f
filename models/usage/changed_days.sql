-- Of which customers' days this build works out anew what they come to: those on which a session of a changed timeline runs, or ran
-- by the last build. Where nothing can be taken over, none is here: all of them are worked out.
with

sessions as (

    select
        customer_id,
        started_at,
        ended_at
    from {{ ref('stale_sessions') }}

    union all

    select
        sessions.customer_id,
        sessions.started_at,
        sessions.ended_at
    from {{ ref('sandbox_sessions') }} as sessions
    {{ of_changed_timelines('sessions') }}
    {{ 'where 1 = 0' if rates_from_scratch() }}

),

-- With the day of the end, although the end is exclusive: what an event carries counts on its instant.
days as (

    select
        customer_id,
        {{ starts_of_each('day', 'started_at', '(ended_at + interval 1 microsecond)') }} as day_starts_at
    from sessions

)

select distinct
    customer_id,
    cast(day_starts_at as date) as usage_date
from days
