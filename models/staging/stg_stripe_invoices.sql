select
    invoices.stripe_id as stripe_invoice_id,
    {{ json_text('body', 'metadata.billhouse_invoice_id') }} as invoice_id,
    {{ json_text('body', 'metadata.billhouse_content_hash') }} as content_hash,
    {{ json_text('body', 'customer') }} as stripe_customer_id,
    {{ json_text('body', 'number') }} as stripe_invoice_number,
    {{ json_text('body', 'status') }} as stripe_status,
    upper({{ json_text('body', 'currency') }}) as currency,
    cast({{ json_text('body', 'total') }} as bigint) as total_minor_units,
    cast({{ json_text('body', 'amount_paid') }} as bigint) as paid_minor_units,
    cast({{ json_text('body', 'amount_remaining') }} as bigint) as remaining_minor_units,
    {{ from_unix(json_text('body', 'created')) }} as created_at,
    {{ from_unix(json_text('body', 'due_date')) }} as due_at,
    {{ from_unix(json_text('body', 'status_transitions.finalized_at')) }} as finalized_at,
    {{ from_unix(json_text('body', 'status_transitions.paid_at')) }} as paid_at,
    {{ from_unix(json_text('body', 'status_transitions.voided_at')) }} as voided_at,
    {{ from_unix(json_text('body', 'status_transitions.marked_uncollectible_at')) }} as marked_uncollectible_at,
    invoices.sync_id
from {{ mirrored('invoices') }} as invoices
where invoices.recency = 1 and not invoices.is_deleted
