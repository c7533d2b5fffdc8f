-- Decisions on publishing closed invoices in Stripe; of several for one invoice the latest counts.
select
    invoice_id,
    period,
    is_approved,
    decided_by,
    reason,
    {{ to_utc('decided_at') }} as decided_at,
    row_number() over (partition by invoice_id order by decided_at desc, is_approved asc) as recency
from {{ source('ledger', 'approvals') }}
