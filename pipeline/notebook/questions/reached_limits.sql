-- Which customers reached a limit?
select
    customer_id,
    limit_kind,
    period,
    threshold_percent,
    round(observed / if(unit = 'second', 3600, 1), 2) as observed,
    round(allowed / if(unit = 'second', 3600, 1), 2) as allowed,
    if(unit = 'second', 'hour', unit) as unit,
    reached_at
from billing.usage_alerts
order by reached_at desc, alert_id
limit 50
