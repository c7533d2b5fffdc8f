{{ config(materialized='ephemeral') }}
-- Tax that somebody had added in Stripe, and what its finalizing took from the customer's balance there (or, below zero, added to it).
with

finalized as (

    select
        invoice_id,
        customer_id,
        currency,
        cast(finalized_at as date) as entry_date,
        'tax' as entry_kind,
        'Liabilities:TaxCollected' as account,
        -tax_amount as amount
    from {{ ref('receivables_due') }}
    where finalized_at is not null

    union all

    select
        invoice_id,
        customer_id,
        currency,
        cast(finalized_at as date),
        'balance',
        'Liabilities:CustomerBalance',
        balance_applied_amount
    from {{ ref('receivables_due') }}
    where finalized_at is not null

    union all

    -- What is void owes no tax, and gives back to the balance what it had paid.
    select
        invoice_id,
        customer_id,
        currency,
        cast(voided_at as date),
        'write_off',
        'Liabilities:TaxCollected',
        tax_amount
    from {{ ref('receivables_due') }}
    where stripe_status = 'void'

    union all

    select
        invoice_id,
        customer_id,
        currency,
        cast(voided_at as date),
        'write_off',
        'Liabilities:CustomerBalance',
        -balance_applied_amount
    from {{ ref('receivables_due') }}
    where stripe_status = 'void'

)

select
    entry_kind,
    invoice_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    account,
    '' as meter_id,
    amount,
    currency,
    false as is_draft
from finalized

union all

select
    entry_kind,
    invoice_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Assets:Receivable',
    '',
    -amount,
    currency,
    false
from finalized
