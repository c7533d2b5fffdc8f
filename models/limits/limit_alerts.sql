-- Billing rules, section 8: the first time in a month that a customer came to 50, 80 and 100 percent of a limit: once for each customer,
-- limit, month and threshold.
with

reached as (

    select
        customer_id,
        limit_kind,
        period,
        threshold_percent,
        allowed,
        observed,
        unit,
        reached_at
    from {{ ref('limits_reached') }}

    union all

    select
        readings.customer_id,
        readings.limit_kind,
        readings.period,
        thresholds.threshold_percent,
        readings.allowed,
        readings.observed,
        readings.unit,
        readings.observed_at as reached_at
    from {{ ref('spend_readings') }} as readings
    inner join {{ alert_thresholds() }} as thresholds
        on {{ has_reached('readings.observed', 'readings.allowed', 'thresholds.threshold_percent') }}

    union all

    -- Credit is used up once: a month that begins with little left is no new alert.
    select
        readings.customer_id,
        readings.limit_kind,
        readings.period,
        thresholds.threshold_percent,
        readings.allowed,
        readings.observed,
        readings.unit,
        readings.observed_at as reached_at
    from {{ ref('credit_readings') }} as readings
    inner join {{ alert_thresholds() }} as thresholds
        on
            {{ has_reached('readings.observed', 'readings.allowed', 'thresholds.threshold_percent') }}
            and (
                readings.observed_before is null
                or not {{ has_reached('readings.observed_before', 'readings.allowed_before', 'thresholds.threshold_percent') }}
            )
    where readings.observed > 0

),

ranked as (

    select
        *,
        row_number() over (
            partition by customer_id, limit_kind, period, threshold_percent
            order by reached_at asc, observed desc, allowed asc, unit asc
        ) as place
    from reached

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
from ranked
where place = 1
