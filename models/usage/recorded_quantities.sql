{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_executions() }}"
) }}
-- depends_on: {{ ref('stale_sessions') }}
-- Billing rules, section 3: the quantities (tokens) of events are billed at the events' instant, whether or not a session runs. The session
-- that runs, opens or ends at that instant is in session_id.
with

quantities as (

    select
        events.timeline_key,
        events.first_at as event_at,
        min(events.sandbox_id) as sandbox_id,
        min(events.execution_id) as execution_id,
        min(events.customer_id) as customer_id,
        cast(sum(events.quantity_event_count) as integer) as quantity_event_count,
        {%- for quantity in quantity_columns() %}
        cast(sum(events.{{ quantity }}) as decimal(38, 6)) as {{ quantity }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('dirty_events') }} as events
    where
        events.quantity_event_count > 0
        {%- for quantity in quantity_columns() %}
        or events.{{ quantity }} > 0
        {%- endfor %}
    group by events.timeline_key, events.first_at

),

timelines as (

    select distinct timeline_key
    from quantities

),

-- Session starts and quantities in one order; at one instant the start is first, so that the quantity belongs to the session that opens.
starts_and_quantities as (

    select
        sessions.timeline_key,
        sessions.started_at as event_at,
        0 as rank_at_instant,
        sessions.session_id,
        sessions.session_key,
        sessions.ended_at as session_ended_at
    from {{ ref('sandbox_sessions') }} as sessions
    inner join timelines
        on
            sessions.timeline_key = timelines.timeline_key

    union all

    select
        timeline_key,
        event_at,
        1 as rank_at_instant,
        cast(null as string) as session_id,
        {{ no_key() }} as session_key,
        cast(null as timestamp) as session_ended_at
    from quantities

),

latest_sessions as (

    select
        timeline_key,
        event_at,
        rank_at_instant,
        {{ last_known('session_id') }} over so_far as session_id,
        {{ last_known('session_key') }} over so_far as session_key,
        {{ last_known('session_ended_at') }} over so_far as session_ended_at
    from starts_and_quantities
    window so_far as (
        partition by timeline_key order by event_at, rank_at_instant
        rows between unbounded preceding and current row
    )

)

select
    case when quantities.event_at <= latest_sessions.session_ended_at then latest_sessions.session_id end as session_id,
    case when quantities.event_at <= latest_sessions.session_ended_at then latest_sessions.session_key end as session_key,
    quantities.timeline_key,
    quantities.sandbox_id,
    quantities.execution_id,
    quantities.customer_id,
    quantities.event_at,
    cast(quantities.event_at as date) as usage_date,
    {{ billing_period('quantities.event_at') }} as period,
    quantities.quantity_event_count,
    {%- for quantity in quantity_columns() %}
    quantities.{{ quantity }}{{ ',' if not loop.last }}
    {%- endfor %}
from quantities
inner join latest_sessions
    on
        quantities.timeline_key = latest_sessions.timeline_key
        and quantities.event_at = latest_sessions.event_at
where latest_sessions.rank_at_instant = 1
