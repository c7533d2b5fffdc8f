-- Credit notes in force against published invoices: those of the ledger, and those that were made in Stripe by hand. One of the
-- ledger counts before it is mirrored, and no longer once Stripe has it as void.
with

ledger_notes as (

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

stripe_notes as (

    select * from {{ ref('stg_stripe_credit_notes') }}

),

notes as (

    select
        ledger_notes.credit_note_id,
        ledger_notes.stripe_invoice_id,
        ledger_notes.settlement,
        ledger_notes.issued_at,
        ledger_notes.amount,
        stripe_notes.tax_amount,
        stripe_notes.after_payment_amount
    from ledger_notes
    left join stripe_notes on ledger_notes.credit_note_id = stripe_notes.credit_note_id
    where stripe_notes.stripe_status is null or stripe_notes.stripe_status = 'issued'

    union all

    select
        stripe_notes.stripe_credit_note_id,
        stripe_notes.stripe_invoice_id,
        'by_hand' as settlement,
        stripe_notes.created_at,
        stripe_notes.amount,
        stripe_notes.tax_amount,
        stripe_notes.after_payment_amount
    from stripe_notes
    left join ledger_notes on stripe_notes.credit_note_id = ledger_notes.credit_note_id
    where stripe_notes.stripe_status = 'issued' and ledger_notes.credit_note_id is null

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
