select
    alerts.alert_id,
    alerts.kind,
    alerts.customer_id,
    alerts.subject,
    alerts.text,
    nullif(alerts.channel, '') as channel,
    case
        when alerts.is_suppressed then 'suppressed'
        when alerts.channel = '' then 'kept'
        else coalesce(deliveries.outcome, 'pending')
    end as state,
    deliveries.attempts,
    nullif(deliveries.detail, '') as detail,
    {{ from_utc('alerts.reached_at') }} as reached_at,
    {{ from_utc('alerts.raised_at') }} as raised_at,
    {{ from_utc('deliveries.tried_at') }} as tried_at
from {{ ref('stg_alerts') }} as alerts
left join {{ ref('stg_alert_deliveries') }} as deliveries
    on alerts.alert_id = deliveries.alert_id and alerts.channel = deliveries.channel and deliveries.recency = 1
