-- What each closed, collected invoice leaves to be paid: its total and the tax that somebody had added in Stripe, less what Stripe says was
-- paid or taken from the customer's balance there, what credit notes took off before it was paid, and what was voided or written off.
with

notes as (

    select
        invoice_id,
        sum(amount + tax_amount - after_payment_amount) as credited_amount
    from {{ ref('issued_credit_notes') }}
    group by invoice_id

),

invoices as (

    select
        closed.invoice_id,
        closed.customer_id,
        closed.customer_name,
        closed.period,
        closed.currency,
        closed.total_amount,
        publications.stripe_invoice_id,
        mirrored.stripe_status,
        mirrored.finalized_at,
        mirrored.due_at,
        mirrored.paid_at,
        mirrored.voided_at,
        mirrored.marked_uncollectible_at,
        cast(coalesce(case when mirrored.finalized_at is not null then mirrored.tax_amount end, 0) as decimal(18, 3)) as tax_amount,
        cast(coalesce(mirrored.paid_amount, 0) as decimal(18, 3)) as paid_amount,
        cast(coalesce(mirrored.balance_applied_amount, 0) as decimal(18, 3)) as balance_applied_amount,
        cast(coalesce(notes.credited_amount, 0) as decimal(18, 3)) as credited_amount
    from {{ ref('stg_closed_invoices') }} as closed
    left join {{ ref('stg_publications') }} as publications on closed.invoice_id = publications.invoice_id
    left join {{ ref('stg_stripe_invoices') }} as mirrored on publications.stripe_invoice_id = mirrored.stripe_invoice_id
    left join notes on closed.invoice_id = notes.invoice_id
    where closed.collection <> 'none' and closed.total_amount > 0

),

owed as (

    select
        *,
        -- Voiding gives back to the balance what it had paid.
        cast(
            total_amount + tax_amount - paid_amount - credited_amount
            - case when stripe_status = 'void' then 0 else balance_applied_amount end
            as decimal(18, 3)
        ) as left_amount
    from invoices

)

select
    invoice_id,
    customer_id,
    customer_name,
    period,
    currency,
    total_amount,
    stripe_invoice_id,
    stripe_status,
    finalized_at,
    due_at,
    paid_at,
    voided_at,
    marked_uncollectible_at,
    tax_amount,
    paid_amount,
    balance_applied_amount,
    credited_amount,
    cast(case when stripe_status in ('void', 'uncollectible') then left_amount else 0 end as decimal(18, 3)) as written_off_amount,
    cast(case when stripe_status in ('void', 'uncollectible') then 0 else left_amount end as decimal(18, 3)) as open_amount
from owed
