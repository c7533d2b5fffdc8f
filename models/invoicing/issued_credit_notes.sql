-- Every credit note against an invoice of ours, whoever made it: ours, and those that somebody made in Stripe by hand. Ours count before
-- Stripe is mirrored; once it is, what was voided there counts no more.
with

ours as (

    select
        credit_note_id,
        stripe_invoice_id,
        settlement,
        issued_at,
        currency,
        -sum(amount) as amount
    from {{ ref('stg_credit_note_lines') }}
    group by credit_note_id, stripe_invoice_id, settlement, issued_at, currency

),

mirrored as (

    select * from {{ ref('stg_stripe_credit_notes') }}

),

notes as (

    select
        ours.credit_note_id,
        ours.stripe_invoice_id,
        ours.settlement,
        ours.issued_at,
        ours.amount,
        mirrored.tax_amount,
        mirrored.after_payment_amount
    from ours
    left join mirrored on ours.credit_note_id = mirrored.credit_note_id
    where mirrored.stripe_status is null or mirrored.stripe_status = 'issued'

    union all

    select
        mirrored.stripe_credit_note_id,
        mirrored.stripe_invoice_id,
        'by_hand' as settlement,
        mirrored.created_at,
        mirrored.amount,
        mirrored.tax_amount,
        mirrored.after_payment_amount
    from mirrored
    left join ours on mirrored.credit_note_id = ours.credit_note_id
    where mirrored.stripe_status = 'issued' and ours.credit_note_id is null

)

select
    notes.credit_note_id,
    closed.invoice_id,
    notes.stripe_invoice_id,
    closed.customer_id,
    closed.currency,
    notes.settlement,
    notes.issued_at,
    cast(notes.amount as decimal(18, 3)) as amount,
    cast(coalesce(notes.tax_amount, 0) as decimal(18, 3)) as tax_amount,
    cast(coalesce(notes.after_payment_amount, 0) as decimal(18, 3)) as after_payment_amount
from notes
inner join {{ ref('stg_publications') }} as publications on notes.stripe_invoice_id = publications.stripe_invoice_id
inner join {{ ref('stg_closed_invoices') }} as closed on publications.invoice_id = closed.invoice_id
