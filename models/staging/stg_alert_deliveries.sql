-- Attempts to send an alert. recency 1 is the outcome that counts: delivered or rejected, which are final, before failed; then the latest.
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
