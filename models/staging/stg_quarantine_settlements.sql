-- Rows in quarantine that a person settled. Billing rules, section 3.
select
    file_id,
    file_row,
    settled_by,
    settlement_reason,
    {{ to_utc('settled_at') }} as settled_at
from {{ source('ledger', 'quarantine_settlements') }}
