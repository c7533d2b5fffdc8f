{{ config(materialized='view') }}
-- What finalizing in Stripe adds to an invoice: tax, and what the customer's balance in Stripe pays of it (a negative balance
-- adds to it). Voiding the invoice reverses both; the rest of a void is in journal_write_off_postings.
with

receivables as (

    select * from {{ ref('receivables_due') }}

),

changes as (

    select
        invoice_id,
        customer_id,
        currency,
        cast(finalized_at as date) as entry_date,
        'tax' as entry_kind,
        'Liabilities:TaxCollected' as account,
        -tax_amount as amount
    from receivables
    where finalized_at is not null

    union all

    select
        invoice_id,
        customer_id,
        currency,
        cast(finalized_at as date) as entry_date,
        'balance' as entry_kind,
        'Liabilities:CustomerBalance' as account,
        balance_applied_amount as amount
    from receivables
    where finalized_at is not null

    union all

    select
        invoice_id,
        customer_id,
        currency,
        cast(voided_at as date) as entry_date,
        'write_off' as entry_kind,
        'Liabilities:TaxCollected' as account,
        tax_amount as amount
    from receivables
    where stripe_status = 'void'

    union all

    select
        invoice_id,
        customer_id,
        currency,
        cast(voided_at as date) as entry_date,
        'write_off' as entry_kind,
        'Liabilities:CustomerBalance' as account,
        -balance_applied_amount as amount
    from receivables
    where stripe_status = 'void'

)

{{ postings_against_receivable('changes') }}
