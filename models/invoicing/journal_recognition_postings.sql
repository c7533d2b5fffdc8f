{{ config(materialized='view') }}
-- A fee that is billed in advance becomes income on the last day of the month that it is for.
with

lines_in_advance as (

    select
        invoices.invoice_id,
        invoices.customer_id,
        invoices.currency,
        lines.service_period,
        lines.amount,
        true as is_draft
    from {{ ref('draft_invoice_lines') }} as lines
    inner join {{ ref('draft_invoices') }} as invoices on lines.invoice_id = invoices.invoice_id
    where lines.service_period > invoices.period

    union all

    select
        invoices.invoice_id,
        invoices.customer_id,
        invoices.currency,
        lines.service_period,
        lines.amount,
        false as is_draft
    from {{ ref('stg_billed_lines') }} as lines
    inner join {{ ref('stg_closed_invoices') }} as invoices on lines.invoice_id = invoices.invoice_id
    where lines.service_period > invoices.period

),

recognitions as (

    select
        invoice_id || '/' || service_period as reference,
        cast(cast(service_period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date) as entry_date,
        customer_id,
        invoice_id,
        sum(amount) as amount,
        currency,
        is_draft
    from lines_in_advance
    where service_period <= (select current_period from {{ ref('stg_build_inputs') }})
    group by invoice_id, service_period, customer_id, currency, is_draft

)

select
    'recognition' as entry_kind,
    reference,
    entry_date,
    customer_id,
    invoice_id,
    'Liabilities:DeferredRevenue' as account,
    '' as meter_id,
    amount,
    currency,
    is_draft
from recognitions

union all

select
    'recognition' as entry_kind,
    reference,
    entry_date,
    customer_id,
    invoice_id,
    'Income:Fees' as account,
    '' as meter_id,
    -amount as amount,
    currency,
    is_draft
from recognitions
