select
    payments.stripe_id as stripe_payment_id,
    {{ json_text('body', 'invoice') }} as stripe_invoice_id,
    {{ json_text('body', 'status') }} as stripe_status,
    upper({{ json_text('body', 'currency') }}) as currency,
    cast({{ json_text('body', 'amount_paid') }} as bigint) as paid_minor_units,
    {{ from_unix(json_text('body', 'status_transitions.paid_at')) }} as paid_at
from {{ mirrored('invoice_payments') }} as payments
where payments.recency = 1 and not payments.is_deleted
