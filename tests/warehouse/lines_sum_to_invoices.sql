-- Billing rules, sections 2 and 6. Fails if an invoice's subtotal is not the sum of its lines, its credit not the sum of its applications, or
-- its total not subtotal - credit - carry-forward, or negative.
with

line_sums as (

    select
        invoice_id,
        sum(amount) as amount,
        count(*) as line_count
    from {{ ref('invoice_lines') }}
    group by invoice_id

),

credit_sums as (

    select
        invoice_id,
        sum(amount) as amount
    from {{ ref('credit_applications') }}
    group by invoice_id

)

select
    coalesce(invoices.invoice_id, line_sums.invoice_id) as invoice_id,
    invoices.subtotal_amount,
    line_sums.amount as lines_amount,
    invoices.credits_applied_amount,
    credit_sums.amount as applications_amount,
    invoices.total_amount
from {{ ref('invoices') }} as invoices
full outer join line_sums on invoices.invoice_id = line_sums.invoice_id
left join credit_sums on invoices.invoice_id = credit_sums.invoice_id
where
    invoices.invoice_id is null
    or line_sums.invoice_id is null
    or invoices.subtotal_amount <> line_sums.amount
    or invoices.line_count <> line_sums.line_count
    or invoices.credits_applied_amount <> coalesce(credit_sums.amount, 0)
    or invoices.total_amount
    <> invoices.subtotal_amount - invoices.credits_applied_amount - invoices.carried_forward_amount
    or invoices.total_amount < 0
