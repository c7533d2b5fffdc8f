-- What each closed, collected invoice leaves to be paid: its total, less what Stripe says was paid, what credit notes took off before it
-- was paid, and what was voided or written off.
with

notes as (

    select
        invoice_id,
        sum(amount - after_payment_amount) as credited_amount
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
        mirrored.due_at,
        mirrored.paid_at,
        mirrored.voided_at,
        mirrored.marked_uncollectible_at,
        cast(coalesce({{ in_units('mirrored.paid_minor_units', 'units.minor_units_per_unit') }}, 0) as decimal(18, 3)) as paid_amount,
        cast(coalesce(notes.credited_amount, 0) as decimal(18, 3)) as credited_amount
    from {{ ref('stg_closed_invoices') }} as closed
    inner join {{ ref('currency_units') }} as units on closed.currency = units.currency
    left join {{ ref('stg_publications') }} as publications on closed.invoice_id = publications.invoice_id
    left join {{ ref('stg_stripe_invoices') }} as mirrored on publications.stripe_invoice_id = mirrored.stripe_invoice_id
    left join notes on closed.invoice_id = notes.invoice_id
    where closed.collection <> 'none' and closed.total_amount > 0

)

select
    *,
    cast(
        case when stripe_status in ('void', 'uncollectible') then total_amount - paid_amount - credited_amount else 0 end as decimal(18, 3)
    ) as written_off_amount,
    cast(
        case when stripe_status in ('void', 'uncollectible') then 0 else total_amount - paid_amount - credited_amount end
        as decimal(18, 3)
    ) as open_amount
from invoices
