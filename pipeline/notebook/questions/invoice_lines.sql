-- What is on an invoice?
-- The lines sum to the invoice's subtotal exactly.
select
    line_number,
    description,
    amount,
    currency
from billing.invoice_lines
where invoice_id = {{ var('invoice_id') }}
order by line_number
