-- Which invoices has a customer?
select
    invoice_id,
    period,
    currency,
    status,
    plan_id,
    subtotal_amount,
    credits_applied_amount,
    total_amount
from billing.invoices
where customer_id = {{ var('customer_id') }}
order by period desc, currency
