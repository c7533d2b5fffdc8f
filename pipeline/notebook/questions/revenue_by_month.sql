-- How much does each month bring in?
-- Before credit, what credit paid, and what customers pay. The running month counts with its drafts.
select
    period,
    currency,
    count(distinct customer_id) as customers,
    sum(subtotal_amount) as before_credit_amount,
    sum(credits_applied_amount) as credits_applied_amount,
    sum(carried_forward_amount) as carried_forward_amount,
    sum(total_amount) as total_amount,
    count(*) filter (where status = 'draft') as drafts
from billing.invoices
group by all
order by all
