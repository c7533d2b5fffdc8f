{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_customer_days() }}"
) }}
-- Billing rules, section 8: the first instant of a day at which a customer reached 50, 80 or 100 percent of its limit of concurrent sandboxes
-- or of session length. A limit of 0 counts as none. By day, so that a build recomputes only changed days.
with

observations as (

    select
        levels.customer_id,
        levels.usage_date,
        'concurrent_sandboxes' as limit_kind,
        cast(levels.max_concurrent_sandboxes as decimal(38, 12)) as allowed,
        cast(levels.sandboxes as decimal(38, 12)) as observed,
        'sandbox' as unit,
        levels.started_at as observed_at,
        {{ no_key() }} as session_key
    from {{ ref('concurrency_levels') }} as levels
    {{ only_dirty_customer_days('levels') }}
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
        session_key
    from {{ ref('sandbox_sessions') }}
    where
        max_session_seconds > 0
        and started_at < ended_at
        and duration_microseconds * 2 >= max_session_seconds * 1000000
        and {{ may_touch_dirty_days('started_at', 'started_at') }}

),

thresholds_reached as (

    select
        observations.session_key,
        observations.customer_id,
        observations.usage_date,
        observations.limit_kind,
        thresholds.threshold_percent,
        observations.allowed,
        observations.observed,
        observations.unit,
        observations.observed_at,
        cast(
            {{ divide_down('cast(observations.allowed as decimal(18, 0)) * thresholds.threshold_percent', '100') }} as bigint
        ) * 1000000 as threshold_microseconds
    from observations
    {{ only_dirty_customer_days('observations') }}
    inner join {{ alert_thresholds() }} as thresholds
        on {{ has_reached('observations.observed', 'observations.allowed', 'thresholds.threshold_percent') }}

),

-- A session reaches a share of its limit at that share of its time, pauses not counted.
dated_thresholds as (

    select
        reached.customer_id,
        reached.usage_date,
        reached.limit_kind,
        reached.threshold_percent,
        reached.allowed,
        reached.observed,
        reached.unit,
        case
            when reached.session_key is null then reached.observed_at
            else {{ plus_microseconds(
                'coalesce(spans.started_at, reached.observed_at)',
                'reached.threshold_microseconds - coalesce(spans.ran_before_microseconds, 0)'
            ) }}
        end as reached_at
    from thresholds_reached as reached
    left join {{ ref('running_spans') }} as spans
        on
            reached.session_key = spans.session_key
            and {{ reaches_within_span('reached.threshold_microseconds', 'spans') }}

),

ranked_thresholds as (

    select
        *,
        row_number() over (
            partition by customer_id, usage_date, limit_kind, threshold_percent
            order by reached_at asc, observed desc, allowed asc, unit asc
        ) as rank_on_day
    from dated_thresholds

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
from ranked_thresholds
where rank_on_day = 1
