-- Who let which closed invoice go to Stripe; the latest word stands.
select
    invoice_id,
    period,
    is_approved,
    decided_by,
    {{ to_utc('decided_at') }} as decided_at,
    row_number() over (partition by invoice_id order by decided_at desc, is_approved asc) as recency
from {{ source('ledger', 'approvals') }}
