{{ config(materialized='view') }}
-- The entry of each invoice, on the last day of its month: what it charges by kind of income, against what credit paid, what is
-- carried forward and what is to be paid. docs/use/exports.md has the chart of accounts.
with

issued_invoices as (

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

),

invoices as (

    select
        *,
        cast(cast(period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date) as entry_date
    from issued_invoices

),

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
    'invoice' as entry_kind,
    invoices.invoice_id as reference,
    invoices.entry_date,
    invoices.customer_id,
    invoices.invoice_id,
    case
        when lines.line_type = 'carry_forward' then 'Liabilities:CarriedForward'
        when lines.service_period > invoices.period then 'Liabilities:DeferredRevenue'
        when lines.is_adjustment then 'Income:Adjustments'
        when lines.line_type = 'fee' then 'Income:Fees'
        when lines.line_type = 'discount' then 'Income:Discounts'
        when lines.line_type = 'commitment' then 'Income:Commitments'
        else 'Income:Usage'
    end as account,
    case when lines.line_type = 'usage' then lines.meter_id else '' end as meter_id,
    -lines.amount as amount,
    invoices.currency,
    invoices.is_draft
from invoices
inner join lines on invoices.invoice_id = lines.invoice_id

union all

select
    'invoice' as entry_kind,
    invoice_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    -- An invoice that is not collected is no receivable: what credit did not pay lessens income.
    case when collection = 'none' then 'Income:Uncollected' else 'Assets:Receivable' end as account,
    '' as meter_id,
    total_amount as amount,
    currency,
    is_draft
from invoices

union all

select
    'invoice' as entry_kind,
    invoice_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Liabilities:CustomerCredit' as account,
    '' as meter_id,
    credits_applied_amount as amount,
    currency,
    is_draft
from invoices

union all

select
    'invoice' as entry_kind,
    invoice_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Liabilities:CarriedForward' as account,
    '' as meter_id,
    carried_forward_amount as amount,
    currency,
    is_draft
from invoices
