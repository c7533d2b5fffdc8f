-- Which customers reached a limit?
select
    customer_id,
    limit_kind,
    period,
    threshold_percent,
    -- Thousandths of an hour, rounded half up: whole numbers, since a division gives a binary number.
    case
        when unit = 'second' then (cast(floor(observed * 10 + 18) as hugeint) // 36) * 0.001
        else cast(observed as decimal(38, 3))
    end as observed,
    case
        when unit = 'second' then (cast(floor(allowed * 10 + 18) as hugeint) // 36) * 0.001
        else cast(allowed as decimal(38, 3))
    end as allowed,
    if(unit = 'second', 'hour', unit) as unit,
    reached_at
from billing.usage_alerts
order by reached_at desc, alert_id
limit 50
