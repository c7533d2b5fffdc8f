-- How much does each month bring in?
-- Revenue is the sum of the invoices' lines before credit, each amount once: what an invoice carries to the next is in its own month.
-- Less the credit applied, with what was carried over, it is what was invoiced. Of that, customers pay what is left after credit
-- notes, invoices that are not collected (free plans), and those that Stripe has as void or uncollectible. Without tax. The running
-- month counts with its drafts.
with revenues as (
    select
        invoice_id,
        coalesce(sum(amount) filter (where line_type <> 'carry_forward'), 0) as revenue,
        coalesce(sum(amount) filter (where line_type = 'carry_forward'), 0) as carried_over_amount
    from billing.invoice_lines
    group by invoice_id
),

credit_notes as (
    select
        invoice_id,
        sum(amount) as amount
    from billing.credit_note_lines
    group by invoice_id
),

month_invoices as (
    select
        invoices.*,
        revenues.revenue,
        revenues.carried_over_amount - invoices.carried_forward_amount as carried_amount,
        coalesce(credit_notes.amount, 0) as credit_notes_amount,
        case
            when invoices.collection = 'none' then 'not collected'
            when invoices.status in ('void', 'uncollectible') then 'void'
            else 'collected'
        end as collected
    from billing.invoices
    inner join revenues using (invoice_id)
    left join credit_notes using (invoice_id)
)

select
    period,
    currency,
    count(distinct customer_id) as customers,
    sum(revenue) as revenue,
    sum(credits_applied_amount) as credits_applied_amount,
    sum(carried_amount) as carried_amount,
    sum(total_amount) as invoiced_amount,
    sum(credit_notes_amount) as credit_notes_amount,
    coalesce(sum(total_amount + credit_notes_amount) filter (where collected = 'not collected'), 0) as not_collected_amount,
    coalesce(sum(total_amount + credit_notes_amount) filter (where collected = 'void'), 0) as void_or_uncollectible_amount,
    coalesce(sum(total_amount + credit_notes_amount) filter (where collected = 'collected'), 0) as customers_pay_amount,
    count(*) filter (where status = 'draft') as drafts
from month_invoices
group by all
order by all
