-- Who are our largest customers?
-- Closed invoices, over all months.
select
    customer_id,
    any_value(customer_name) as name,
    currency,
    sum(subtotal_amount) as before_credits,
    sum(total_amount) as billed
from billing.invoices
where status <> 'draft'
group by customer_id, currency
order by before_credits desc, customer_id
limit 20
