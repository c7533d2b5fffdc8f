select
    credit_notes.stripe_id as stripe_credit_note_id,
    {{ json_text('body', 'metadata.billhouse_credit_note_id') }} as credit_note_id,
    {{ json_text('body', 'invoice') }} as stripe_invoice_id,
    {{ json_text('body', 'number') }} as stripe_credit_note_number,
    {{ json_text('body', 'status') }} as stripe_status,
    upper({{ json_text('body', 'currency') }}) as currency,
    cast({{ json_text('body', 'amount') }} as bigint) as amount_minor_units,
    cast(coalesce({{ json_text('body', 'post_payment_amount') }}, '0') as bigint) as after_payment_minor_units,
    {{ from_unix(json_text('body', 'created')) }} as created_at
from {{ mirrored('credit_notes') }} as credit_notes
where credit_notes.recency = 1 and not credit_notes.is_deleted
