-- Raised alerts, one row for each channel that was configured at the time ('' where none was). Append-only.
select
    alert_id,
    channel,
    kind,
    customer_id,
    subject,
    text,
    is_suppressed,
    {{ to_utc('reached_at') }} as reached_at,
    {{ to_utc('raised_at') }} as raised_at
from {{ source('ledger', 'alerts') }}
