{{ config(materialized='ephemeral') }}
-- An invoice that was written off and paid after all is written back on that day.
with

write_offs as (

    select
        invoice_id,
        customer_id,
        currency,
        'write_off' as entry_kind,
        cast(case when stripe_status = 'void' then voided_at else marked_uncollectible_at end as date) as entry_date,
        case when stripe_status = 'void' then 'Income:Voided' else 'Expenses:BadDebt' end as account,
        written_off_amount - case when stripe_status = 'void' then tax_amount else 0 end as amount
    from {{ ref('receivables_due') }}
    where stripe_status in ('void', 'uncollectible')

    union all

    select
        invoice_id,
        customer_id,
        currency,
        'write_off',
        cast(marked_uncollectible_at as date),
        'Expenses:BadDebt',
        paid_amount
    from {{ ref('receivables_due') }}
    where stripe_status = 'paid' and marked_uncollectible_at <= paid_at

    union all

    select
        invoice_id,
        customer_id,
        currency,
        'write_back',
        cast(paid_at as date),
        'Expenses:BadDebt',
        -paid_amount
    from {{ ref('receivables_due') }}
    where stripe_status = 'paid' and marked_uncollectible_at <= paid_at

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
from write_offs

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
from write_offs
