{{ config(materialized='view') }}
-- Invoices that were voided in Stripe or marked as uncollectible there. One that is paid after all is written back on that day.
with

receivables as (

    select * from {{ ref('receivables_due') }}

),

write_offs as (

    select
        invoice_id,
        customer_id,
        currency,
        'write_off' as entry_kind,
        cast(case when stripe_status = 'void' then voided_at else marked_uncollectible_at end as date) as entry_date,
        case when stripe_status = 'void' then 'Income:Voided' else 'Expenses:BadDebt' end as account,
        -- journal_finalization_postings reverses the tax of a voided invoice.
        written_off_amount - case when stripe_status = 'void' then tax_amount else 0 end as amount
    from receivables
    where stripe_status in ('void', 'uncollectible')

    union all

    select
        invoice_id,
        customer_id,
        currency,
        'write_off' as entry_kind,
        cast(marked_uncollectible_at as date) as entry_date,
        'Expenses:BadDebt' as account,
        paid_amount as amount
    from receivables
    where stripe_status = 'paid' and marked_uncollectible_at <= paid_at

    union all

    select
        invoice_id,
        customer_id,
        currency,
        'write_back' as entry_kind,
        cast(paid_at as date) as entry_date,
        'Expenses:BadDebt' as account,
        -paid_amount as amount
    from receivables
    where stripe_status = 'paid' and marked_uncollectible_at <= paid_at

)

{{ postings_against_receivable('write_offs') }}
