-- Lines of credit notes, of this deployment's Stripe mode (live or test). Amounts are negative. Append-only.
select
    credit_note_id,
    invoice_id,
    stripe_invoice_id,
    customer_id,
    service_period,
    line_type,
    plan_id,
    meter_id,
    rate_id,
    quantity,
    billable_quantity,
    unit,
    unit_amount,
    amount,
    currency,
    description,
    memo,
    settlement,
    issued_by,
    {{ to_utc('issued_at') }} as issued_at
from {{ source('ledger', 'credit_notes') }}
where livemode = (select is_live from {{ ref('stg_stripe_mode') }})
