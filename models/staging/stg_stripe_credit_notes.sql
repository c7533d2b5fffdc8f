with

credit_notes as (

    select
        notes.stripe_id as stripe_credit_note_id,
        {{ json_text('body', 'metadata.billhouse_credit_note_id') }} as credit_note_id,
        {{ json_text('body', 'invoice') }} as stripe_invoice_id,
        {{ json_text('body', 'number') }} as stripe_credit_note_number,
        {{ json_text('body', 'status') }} as stripe_status,
        upper({{ json_text('body', 'currency') }}) as currency,
        cast({{ json_text('body', 'total') }} as bigint) as total_units,
        cast({{ json_text('body', 'total_excluding_tax') }} as bigint) as total_excluding_tax_units,
        cast(coalesce({{ json_text('body', 'post_payment_amount') }}, '0') as bigint) as after_payment_units,
        {{ from_unix(json_text('body', 'created')) }} as created_at
    from {{ mirrored('credit_notes') }} as notes
    where notes.recency = 1 and not notes.is_deleted

)

select
    credit_notes.stripe_credit_note_id,
    credit_notes.credit_note_id,
    credit_notes.stripe_invoice_id,
    credit_notes.stripe_credit_note_number,
    credit_notes.stripe_status,
    credit_notes.currency,
    {{ from_stripe_units(
        'coalesce(credit_notes.total_excluding_tax_units, credit_notes.total_units)', 'currencies.stripe_unit_digits'
    ) }} as amount,
    {{ from_stripe_units(
        'credit_notes.total_units - coalesce(credit_notes.total_excluding_tax_units, credit_notes.total_units)',
        'currencies.stripe_unit_digits'
    ) }} as tax_amount,
    {{ from_stripe_units('credit_notes.after_payment_units', 'currencies.stripe_unit_digits') }} as after_payment_amount,
    credit_notes.created_at
from credit_notes
left join {{ ref('stripe_currencies') }} as currencies on credit_notes.currency = currencies.currency
