-- What became of an alert each time that it was sent; the latest word stands, and a delivery is the last.
select
    alert_id,
    channel,
    outcome,
    attempts,
    detail,
    {{ to_utc('tried_at') }} as tried_at,
    row_number() over (
        partition by alert_id, channel
        order by case when outcome = 'failed' then 1 else 0 end asc, tried_at desc, attempts desc, detail asc
    ) as recency
from {{ source('ledger', 'alert_deliveries') }}
