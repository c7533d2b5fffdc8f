-- What does an average customer bring in?
-- Revenue before credit by month and plan of the invoice, divided by the customers with an invoice. A customer that changed plans
-- counts under one plan with all its lines, so that the figures of a plan differ from "What did each plan bring in".
select
    invoices.period,
    invoices.plan_id,
    invoices.currency,
    count(distinct invoices.customer_id) as customers,
    sum(lines.amount) as revenue,
    cast(sum(lines.amount) / count(distinct invoices.customer_id) as decimal(18, 3)) as revenue_per_customer
from billing.invoices
inner join billing.invoice_lines as lines using (invoice_id)
where lines.line_type <> 'carry_forward' -- it is revenue of the month that carried it
group by all
order by all
