{{ config(
    materialized='kept' if target.type == 'duckdb' else 'table',
    pre_hook="{{ forget_changed_days() }}"
) }}
-- Billing rules, section 8: the first time on a day that a customer came to 50, 80 and 100 percent of a limit on what runs: how many
-- sandboxes at once, and how long a session. A customer without a limit has no readings of it.
with

readings as (

    select
        levels.customer_id,
        levels.usage_date,
        'concurrent_sandboxes' as limit_kind,
        cast(levels.max_concurrent_sandboxes as decimal(38, 12)) as allowed,
        cast(levels.sandboxes as decimal(38, 12)) as observed,
        'sandbox' as unit,
        levels.started_at as observed_at,
        false as grows_over_time
    from {{ ref('concurrency_levels') }} as levels
    {{ of_changed_days('levels') }}
    where levels.max_concurrent_sandboxes > 0 and levels.sandboxes * 2 >= levels.max_concurrent_sandboxes

    union all

    select
        customer_id,
        cast(started_at as date) as usage_date,
        'session_length' as limit_kind,
        cast(max_session_seconds as decimal(38, 12)) as allowed,
        {{ to_unit_seconds('duration_microseconds') }} as observed,
        'second' as unit,
        started_at as observed_at,
        -- A session grows while it is watched: it reaches a share of its limit at that share of its time.
        true as grows_over_time
    from {{ ref('sandbox_sessions') }}
    where
        max_session_seconds > 0
        and started_at < ended_at
        and duration_microseconds * 2 >= max_session_seconds * 1000000
        and {{ may_touch_changed_days('started_at', 'started_at') }}

),

reached as (

    select
        readings.customer_id,
        readings.usage_date,
        readings.limit_kind,
        thresholds.threshold_percent,
        readings.allowed,
        readings.observed,
        readings.unit,
        case
            when readings.grows_over_time
                then {{ plus_seconds(
                    'readings.observed_at',
                    divide_down('cast(readings.allowed as decimal(18, 0)) * thresholds.threshold_percent', '100')
                ) }}
            else readings.observed_at
        end as reached_at
    from readings
    {{ of_changed_days('readings') }}
    inner join {{ alert_thresholds() }} as thresholds
        on {{ has_reached('readings.observed', 'readings.allowed', 'thresholds.threshold_percent') }}

),

ranked as (

    select
        *,
        row_number() over (
            partition by customer_id, usage_date, limit_kind, threshold_percent
            order by reached_at asc, observed desc, allowed asc, unit asc
        ) as place
    from reached

)

select
    customer_id,
    usage_date,
    limit_kind,
    {{ billing_period('cast(usage_date as timestamp)') }} as period,
    threshold_percent,
    allowed,
    observed,
    unit,
    reached_at
from ranked
where place = 1
