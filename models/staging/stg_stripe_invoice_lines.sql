-- The lines that an invoice had at its latest sync; what it had before and has no more is none of them.
select
    lines.stripe_id as stripe_line_id,
    lines.parent_id as stripe_invoice_id,
    {{ json_text('lines.body', 'metadata.billhouse_line_id') }} as line_id,
    cast({{ json_text('lines.body', 'amount') }} as bigint) as amount_minor_units,
    {{ json_text('lines.body', 'description') }} as description
from {{ mirrored('invoice_lines') }} as lines
inner join {{ ref('stg_stripe_invoices') }} as invoices
    on
        lines.parent_id = invoices.stripe_invoice_id
        and lines.sync_id = invoices.sync_id
where lines.recency = 1
