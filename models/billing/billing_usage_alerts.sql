{{ config(alias='usage_alerts') }}
select
    alert_id,
    customer_id,
    limit_kind,
    period,
    threshold_percent,
    allowed,
    observed,
    unit,
    {{ from_utc('reached_at') }} as reached_at
from {{ ref('usage_alerts') }}
