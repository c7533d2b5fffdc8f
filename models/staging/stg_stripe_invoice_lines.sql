-- The lines of an invoice at its latest sync. Lines that it had only at earlier syncs are left out.
select
    lines.stripe_id as stripe_line_id,
    lines.parent_id as stripe_invoice_id,
    {{ json_text('lines.body', 'metadata.billhouse_line_id') }} as line_id,
    {{ from_stripe_units(json_text('lines.body', 'amount'), 'currencies.stripe_unit_digits') }} as amount,
    {{ json_text('lines.body', 'description') }} as description
from {{ mirrored('invoice_lines') }} as lines
inner join {{ ref('stg_stripe_invoices') }} as invoices
    on
        lines.parent_id = invoices.stripe_invoice_id
        and lines.sync_id = invoices.sync_id
left join {{ ref('stripe_currencies') }} as currencies on invoices.currency = currencies.currency
where lines.recency = 1
