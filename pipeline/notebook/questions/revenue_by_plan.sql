-- What did each plan bring in, month by month?
-- Before credit. The plan of a line is exact; the plan of an invoice is that of its largest collecting line.
select
    period,
    plan_id,
    currency,
    count(distinct customer_id) as customers,
    sum(amount) as revenue
from billing.invoice_lines
where line_type <> 'carry_forward' -- it is revenue of the month that carried it
group by all
order by all
