{{ config(materialized='ephemeral') }}
with

lines as (

    select
        invoice_id,
        service_period,
        line_type,
        meter_id,
        amount,
        is_adjustment
    from {{ ref('draft_invoice_lines') }}
    union all
    select
        invoice_id,
        service_period,
        line_type,
        meter_id,
        amount,
        is_adjustment
    from {{ ref('stg_billed_lines') }}

)

select
    invoices.invoice_id,
    invoices.customer_id,
    invoices.currency,
    invoices.entry_date,
    invoices.is_draft,
    lines.service_period,
    lines.amount,
    lines.service_period > invoices.period as is_in_advance,
    case
        when lines.line_type = 'carry_forward' then 'Liabilities:CarriedForward'
        when lines.service_period > invoices.period then 'Liabilities:DeferredRevenue'
        when lines.is_adjustment then 'Income:Adjustments'
        when lines.line_type = 'fee' then 'Income:Fees'
        when lines.line_type = 'discount' then 'Income:Discounts'
        when lines.line_type = 'commitment' then 'Income:Commitments'
        else 'Income:Usage'
    end as account,
    case when lines.line_type = 'usage' then lines.meter_id end as meter_id
from lines
inner join {{ ref('journal_invoices') }} as invoices on lines.invoice_id = invoices.invoice_id
