with

payments as (

    select
        payments.stripe_id as stripe_payment_id,
        {{ json_text('body', 'invoice') }} as stripe_invoice_id,
        {{ json_text('body', 'status') }} as stripe_status,
        upper({{ json_text('body', 'currency') }}) as currency,
        cast({{ json_text('body', 'amount_paid') }} as bigint) as paid_units,
        {{ from_unix(json_text('body', 'status_transitions.paid_at')) }} as paid_at
    from {{ mirrored('invoice_payments') }} as payments
    where payments.recency = 1 and not payments.is_deleted

)

select
    payments.stripe_payment_id,
    payments.stripe_invoice_id,
    payments.stripe_status,
    payments.currency,
    {{ from_stripe_units('payments.paid_units', 'currencies.stripe_unit_digits') }} as paid_amount,
    payments.paid_at
from payments
left join {{ ref('stripe_currencies') }} as currencies on payments.currency = currencies.currency
