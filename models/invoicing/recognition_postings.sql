{{ config(materialized='ephemeral') }}
-- A fee in advance is earned in its own month.
with

advance_fees as (

    select
        invoice_id,
        customer_id,
        currency,
        is_draft,
        service_period,
        cast(cast(service_period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date) as entry_date,
        sum(amount) as amount
    from {{ ref('journal_lines') }}
    where is_in_advance and service_period <= (select current_period from {{ ref('stg_build_inputs') }})
    group by invoice_id, customer_id, currency, is_draft, service_period

)

select
    'recognition' as entry_kind,
    invoice_id || '/' || service_period as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Liabilities:DeferredRevenue' as account,
    '' as meter_id,
    amount,
    currency,
    is_draft
from advance_fees

union all

select
    'recognition',
    invoice_id || '/' || service_period,
    entry_date,
    customer_id,
    invoice_id,
    'Income:Fees',
    '',
    -amount,
    currency,
    is_draft
from advance_fees
