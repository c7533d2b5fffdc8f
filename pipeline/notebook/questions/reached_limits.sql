-- Which customers reached a limit?
select
    customer_id,
    limit_kind,
    period,
    threshold_percent,
    case when unit = 'second' then cast(observed / 3600 as decimal(38, 3)) else cast(observed as decimal(38, 3)) end as observed,
    case when unit = 'second' then cast(allowed / 3600 as decimal(38, 3)) else cast(allowed as decimal(38, 3)) end as allowed,
    if(unit = 'second', 'hour', unit) as unit,
    reached_at
from billing.usage_alerts
order by reached_at desc, alert_id
limit 50
