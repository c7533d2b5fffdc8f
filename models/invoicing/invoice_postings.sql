{{ config(materialized='ephemeral') }}
select
    'invoice' as entry_kind,
    invoice_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    account,
    coalesce(meter_id, '') as meter_id,
    -amount as amount,
    currency,
    is_draft
from {{ ref('journal_lines') }}

union all

select
    'invoice',
    invoice_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    -- A plan that collects nothing has no claim on anybody: what credit did not cover is revenue given up.
    case when collection = 'none' then 'Income:Uncollected' else 'Assets:Receivable' end,
    '',
    total_amount,
    currency,
    is_draft
from {{ ref('journal_invoices') }}

union all

select
    'invoice',
    invoice_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Liabilities:CustomerCredit',
    '',
    credits_applied_amount,
    currency,
    is_draft
from {{ ref('journal_invoices') }}

union all

select
    'invoice',
    invoice_id as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Liabilities:CarriedForward',
    '',
    carried_forward_amount,
    currency,
    is_draft
from {{ ref('journal_invoices') }}
