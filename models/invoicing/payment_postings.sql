{{ config(materialized='ephemeral') }}
with

payments as (

    select
        receivables.invoice_id,
        receivables.customer_id,
        receivables.currency,
        payments.stripe_payment_id as reference,
        cast(payments.paid_at as date) as entry_date,
        'Assets:Stripe' as account,
        payments.paid_amount as amount
    from {{ ref('stg_stripe_payments') }} as payments
    inner join {{ ref('receivables_due') }} as receivables on payments.stripe_invoice_id = receivables.stripe_invoice_id
    where payments.stripe_status = 'paid'

),

payment_sums as (

    select
        invoice_id,
        sum(amount) as amount
    from payments
    group by invoice_id

),

settled as (

    select * from payments

    union all

    -- Marked as paid, and not through Stripe.
    select
        receivables.invoice_id,
        receivables.customer_id,
        receivables.currency,
        receivables.invoice_id as reference,
        cast(receivables.paid_at as date) as entry_date,
        'Assets:PaidOutsideStripe' as account,
        cast(receivables.paid_amount - coalesce(sums.amount, 0) as decimal(18, 3)) as amount
    from {{ ref('receivables_due') }} as receivables
    left join payment_sums as sums on receivables.invoice_id = sums.invoice_id
    where receivables.paid_at is not null

)

select
    'payment' as entry_kind,
    reference,
    entry_date,
    customer_id,
    invoice_id,
    account,
    '' as meter_id,
    amount,
    currency,
    false as is_draft
from settled

union all

select
    'payment',
    reference,
    entry_date,
    customer_id,
    invoice_id,
    'Assets:Receivable',
    '',
    -amount,
    currency,
    false
from settled
