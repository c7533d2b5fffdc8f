-- Billing rules, section 8: the first instant in a month at which a customer reached 50, 80 or 100 percent of a limit. One alert for each
-- customer, limit, month and threshold.
with

thresholds_reached as (

    select
        customer_id,
        limit_kind,
        period,
        threshold_percent,
        allowed,
        observed,
        unit,
        reached_at
    from {{ ref('daily_threshold_crossings') }}

    union all

    select
        observations.customer_id,
        observations.limit_kind,
        observations.period,
        thresholds.threshold_percent,
        observations.allowed,
        observations.observed,
        observations.unit,
        observations.observed_at as reached_at
    from {{ ref('spend_observations') }} as observations
    inner join {{ alert_thresholds() }} as thresholds
        on {{ has_reached('observations.observed', 'observations.allowed', 'thresholds.threshold_percent') }}

    union all

    -- Billing rules, section 8: a credit alert comes in the month in which the threshold is crossed, not again in the months after.
    select
        observations.customer_id,
        observations.limit_kind,
        observations.period,
        thresholds.threshold_percent,
        observations.allowed,
        observations.observed,
        observations.unit,
        observations.observed_at as reached_at
    from {{ ref('credit_observations') }} as observations
    inner join {{ alert_thresholds() }} as thresholds
        on
            {{ has_reached('observations.observed', 'observations.allowed', 'thresholds.threshold_percent') }}
            and (
                observations.observed_before is null
                or not {{ has_reached('observations.observed_before', 'observations.allowed_before', 'thresholds.threshold_percent') }}
            )
    where observations.observed > 0

),

ranked_thresholds as (

    select
        *,
        row_number() over (
            partition by customer_id, limit_kind, period, threshold_percent
            order by reached_at asc, observed desc, allowed asc, unit asc
        ) as rank_in_month
    from thresholds_reached

)

select
    'ALT-' || upper(substr(md5(
        customer_id || chr(31) || limit_kind || chr(31) || period || chr(31) || cast(threshold_percent as string)
    ), 1, 16)) as alert_id,
    customer_id,
    limit_kind,
    period,
    threshold_percent,
    allowed,
    observed,
    unit,
    reached_at
from ranked_thresholds
where rank_in_month = 1
