{{ config(materialized='ephemeral') }}
with

notes as (

    select
        credit_note_id,
        customer_id,
        invoice_id,
        settlement,
        amount,
        tax_amount,
        currency,
        after_payment_amount,
        cast(issued_at as date) as entry_date
    from {{ ref('issued_credit_notes') }}

)

select
    'credit_note' as entry_kind,
    credit_note_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Income:Adjustments' as account,
    '' as meter_id,
    amount,
    currency,
    false as is_draft
from notes

union all

select
    'credit_note',
    credit_note_id,
    entry_date,
    customer_id,
    invoice_id,
    'Liabilities:TaxCollected',
    '',
    tax_amount,
    currency,
    false
from notes

union all

select
    'credit_note',
    credit_note_id,
    entry_date,
    customer_id,
    invoice_id,
    'Assets:Receivable',
    '',
    after_payment_amount - amount - tax_amount,
    currency,
    false
from notes

union all

select
    'credit_note',
    credit_note_id,
    entry_date,
    customer_id,
    invoice_id,
    case settlement
        when 'refund' then 'Assets:Stripe'
        when 'outside' then 'Assets:PaidOutsideStripe'
        -- Also what a note that was made by hand gave back after payment: the mirror does not say by which way.
        else 'Liabilities:CustomerBalance'
    end,
    '',
    -after_payment_amount,
    currency,
    false
from notes
