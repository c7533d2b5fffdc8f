-- What did each plan bring in, month by month?
-- Before credit. The plan of a line is exact; the plan of an invoice is that of its largest collecting line.
select
    invoices.period,
    lines.plan_id,
    lines.currency,
    count(distinct invoices.customer_id) as customers,
    sum(lines.amount) as revenue
from billing.invoices
inner join billing.invoice_lines as lines using (invoice_id)
group by all
order by all
