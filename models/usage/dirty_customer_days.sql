-- The customer-days that this build recomputes: days on which a session of a changed timeline runs or on which its events carry
-- quantities, now or in the last build. Empty in a full refresh, which recomputes all days.
with

used_spans as (

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
    {{ only_dirty_executions('sessions') }}
    {{ 'where 1 = 0' if is_full_rating() }}

    union all

    select
        events.customer_id,
        events.first_at as started_at,
        events.first_at as ended_at
    from {{ ref('dirty_events') }} as events
    where
        {{ 'false and ' if is_full_rating() }}(
            events.quantity_event_count > 0
            {%- for quantity in quantity_columns() %}
            or events.{{ quantity }} > 0
            {%- endfor %}
        )

),

-- The end of a session is exclusive, but a quantity may be recorded at that instant: the day of the end is included.
day_starts as (

    select
        customer_id,
        {{ starts_of_each('day', 'started_at', '(ended_at + interval 1 microsecond)') }} as day_starts_at
    from used_spans

)

select distinct
    customer_id,
    cast(day_starts_at as date) as usage_date
from day_starts
