-- What does an average customer bring in?
-- Revenue before credit by month and plan of the invoice, divided by the customers with an invoice.
select
    period,
    plan_id,
    currency,
    count(distinct customer_id) as customers,
    sum(subtotal_amount) as revenue,
    round(sum(subtotal_amount) / count(distinct customer_id), 2) as revenue_per_customer
from billing.invoices
group by all
order by all
