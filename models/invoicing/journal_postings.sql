-- Double-entry bookkeeping: one row per account of an entry (debits positive, credits negative). The rows of an entry sum to
-- zero. docs/use/exports.md has the chart of accounts.
with

postings as (

    select * from {{ ref('journal_invoice_postings') }}
    union all
    select * from {{ ref('journal_recognition_postings') }}
    union all
    select * from {{ ref('journal_credit_postings') }}
    union all
    select * from {{ ref('journal_payment_postings') }}
    union all
    select * from {{ ref('journal_finalization_postings') }}
    union all
    select * from {{ ref('journal_write_off_postings') }}
    union all
    select * from {{ ref('journal_credit_note_postings') }}

)

select
    entry_kind,
    reference,
    entry_date,
    {{ billing_period('entry_date') }} as period,
    customer_id,
    invoice_id,
    account,
    meter_id,
    cast(sum(amount) as decimal(18, 3)) as amount,
    currency,
    is_draft
from postings
group by entry_kind, reference, entry_date, customer_id, invoice_id, account, meter_id, currency, is_draft
having sum(amount) <> 0
