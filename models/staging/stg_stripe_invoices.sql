-- total_amount excludes tax, as our totals do; paid, remaining and balance amounts include it.
with

invoices as (

    select
        invoices.stripe_id as stripe_invoice_id,
        {{ json_text('body', 'metadata.billhouse_invoice_id') }} as invoice_id,
        {{ json_text('body', 'metadata.billhouse_content_hash') }} as content_hash,
        {{ json_text('body', 'customer') }} as stripe_customer_id,
        {{ json_text('body', 'number') }} as stripe_invoice_number,
        {{ json_text('body', 'status') }} as stripe_status,
        upper({{ json_text('body', 'currency') }}) as currency,
        cast({{ json_text('body', 'total') }} as bigint) as total_units,
        cast({{ json_text('body', 'total_excluding_tax') }} as bigint) as total_excluding_tax_units,
        cast({{ json_text('body', 'amount_paid') }} as bigint) as paid_units,
        cast({{ json_text('body', 'amount_remaining') }} as bigint) as remaining_units,
        -- Finalization changes the customer's balance in Stripe, where credit is negative.
        cast(coalesce({{ json_text('body', 'ending_balance') }}, {{ json_text('body', 'starting_balance') }}, '0') as bigint)
        - cast(coalesce({{ json_text('body', 'starting_balance') }}, '0') as bigint) as balance_units,
        {{ from_unix(json_text('body', 'created')) }} as created_at,
        {{ from_unix(json_text('body', 'due_date')) }} as due_at,
        {{ from_unix(json_text('body', 'status_transitions.finalized_at')) }} as finalized_at,
        {{ from_unix(json_text('body', 'status_transitions.paid_at')) }} as paid_at,
        {{ from_unix(json_text('body', 'status_transitions.voided_at')) }} as voided_at,
        {{ from_unix(json_text('body', 'status_transitions.marked_uncollectible_at')) }} as marked_uncollectible_at,
        invoices.sync_id
    from {{ mirrored('invoices') }} as invoices
    where invoices.recency = 1 and not invoices.is_deleted

)

select
    invoices.stripe_invoice_id,
    invoices.invoice_id,
    invoices.content_hash,
    invoices.stripe_customer_id,
    invoices.stripe_invoice_number,
    invoices.stripe_status,
    invoices.currency,
    {{ from_stripe_units(
        'coalesce(invoices.total_excluding_tax_units, invoices.total_units)', 'currencies.stripe_unit_digits'
    ) }} as total_amount,
    {{ from_stripe_units(
        'invoices.total_units - coalesce(invoices.total_excluding_tax_units, invoices.total_units)', 'currencies.stripe_unit_digits'
    ) }} as tax_amount,
    {{ from_stripe_units('invoices.paid_units', 'currencies.stripe_unit_digits') }} as paid_amount,
    {{ from_stripe_units('invoices.remaining_units', 'currencies.stripe_unit_digits') }} as remaining_amount,
    {{ from_stripe_units('invoices.balance_units', 'currencies.stripe_unit_digits') }} as balance_applied_amount,
    invoices.created_at,
    invoices.due_at,
    invoices.finalized_at,
    invoices.paid_at,
    invoices.voided_at,
    invoices.marked_uncollectible_at,
    invoices.sync_id
from invoices
left join {{ ref('stripe_currencies') }} as currencies on invoices.currency = currencies.currency
