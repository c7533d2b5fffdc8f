{{ config(materialized='ephemeral') }}
-- An invoice is booked on its month's last day.
with

issued as (

    select
        invoice_id,
        customer_id,
        period,
        currency,
        collection,
        credits_applied_amount,
        carried_forward_amount,
        total_amount,
        true as is_draft
    from {{ ref('draft_invoices') }}
    union all
    select
        invoice_id,
        customer_id,
        period,
        currency,
        collection,
        credits_applied_amount,
        carried_forward_amount,
        total_amount,
        false as is_draft
    from {{ ref('stg_closed_invoices') }}

)

select
    invoice_id,
    customer_id,
    period,
    currency,
    collection,
    credits_applied_amount,
    carried_forward_amount,
    total_amount,
    is_draft,
    cast(cast(period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date) as entry_date
from issued
