select
    entry_kind || ' ' || reference as entry_id,
    cast(row_number() over (partition by entry_kind, reference order by account, meter_id) as integer) as posting_number,
    entry_date,
    period,
    entry_kind,
    customer_id,
    invoice_id,
    case when meter_id = '' then account else account || ':' || upper(substr(meter_id, 1, 1)) || substr(meter_id, 2) end as account,
    amount,
    currency,
    is_draft
from {{ ref('journal_postings') }}
