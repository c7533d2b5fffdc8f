select
    credit_note_id,
    invoice_id,
    customer_id,
    service_period,
    line_type,
    plan_id,
    meter_id,
    rate_id,
    quantity,
    unit,
    amount,
    currency,
    description,
    memo,
    issued_by,
    {{ from_utc('issued_at') }} as issued_at
from {{ ref('stg_credit_note_lines') }}
