{{ config(materialized='view') }}
-- Credit notes, on the day they were issued: they reverse income and tax, against what is open and what was paid already.
with

notes as (

    select
        *,
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
    'credit_note' as entry_kind,
    credit_note_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Liabilities:TaxCollected' as account,
    '' as meter_id,
    tax_amount as amount,
    currency,
    false as is_draft
from notes

union all

select
    'credit_note' as entry_kind,
    credit_note_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Assets:Receivable' as account,
    '' as meter_id,
    after_payment_amount - amount - tax_amount as amount,
    currency,
    false as is_draft
from notes

union all

select
    'credit_note' as entry_kind,
    credit_note_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    case settlement
        when 'refund' then 'Assets:Stripe'
        when 'outside' then 'Assets:PaidOutsideStripe'
        -- Includes notes that were made in Stripe by hand (by_hand): the mirror does not say how the money went back.
        else 'Liabilities:CustomerBalance'
    end as account,
    '' as meter_id,
    -after_payment_amount as amount,
    currency,
    false as is_draft
from notes
