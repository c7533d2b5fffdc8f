{{ config(materialized='view') }}
-- Payments of invoices, on the day they were made: payments in Stripe, and the rest of an invoice that was marked as paid in
-- Stripe without a payment there.
with

receivables as (

    select * from {{ ref('receivables_due') }}

),

stripe_payments as (

    select
        receivables.invoice_id,
        receivables.customer_id,
        receivables.currency,
        payments.stripe_payment_id as reference,
        cast(payments.paid_at as date) as entry_date,
        'Assets:Stripe' as account,
        payments.paid_amount as amount
    from {{ ref('stg_stripe_payments') }} as payments
    inner join receivables on payments.stripe_invoice_id = receivables.stripe_invoice_id
    where payments.stripe_status = 'paid'

),

stripe_payment_sums as (

    select
        invoice_id,
        sum(amount) as amount
    from stripe_payments
    group by invoice_id

),

payments as (

    select * from stripe_payments

    union all

    select
        receivables.invoice_id,
        receivables.customer_id,
        receivables.currency,
        receivables.invoice_id as reference,
        cast(receivables.paid_at as date) as entry_date,
        'Assets:PaidOutsideStripe' as account,
        cast(receivables.paid_amount - coalesce(sums.amount, 0) as decimal(18, 3)) as amount
    from receivables
    left join stripe_payment_sums as sums on receivables.invoice_id = sums.invoice_id
    where receivables.paid_at is not null

)

{{ postings_against_receivable('payments', entry_kind="'payment'", reference='reference') }}
