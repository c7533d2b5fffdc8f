-- Who are our largest customers?
-- Closed invoices, over all months: revenue before credit, and the sum of the invoices' totals, which are after it.
with revenues as (
    select
        invoice_id,
        sum(amount) as revenue
    from billing.invoice_lines
    where line_type <> 'carry_forward' -- it is revenue of the month that carried it
    group by invoice_id
)

select
    invoices.customer_id,
    any_value(invoices.customer_name) as name,
    invoices.currency,
    coalesce(sum(revenues.revenue), 0) as revenue,
    sum(invoices.total_amount) as invoiced_amount
from billing.invoices
left join revenues using (invoice_id)
where invoices.status <> 'draft'
group by invoices.customer_id, invoices.currency
order by revenue desc, invoices.customer_id
limit 20
