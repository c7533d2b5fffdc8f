-- Double-entry bookkeeping: every event that moves money as postings that sum to zero; debits positive, credits negative.
-- An invoice is booked on its month's last day; what Stripe did on the day it did it. docs/use/exports.md has the chart of accounts.
with

postings as (

    select * from {{ ref('invoice_postings') }}
    union all
    select * from {{ ref('recognition_postings') }}
    union all
    select * from {{ ref('credit_postings') }}
    union all
    select * from {{ ref('payment_postings') }}
    union all
    select * from {{ ref('tax_and_balance_postings') }}
    union all
    select * from {{ ref('write_off_postings') }}
    union all
    select * from {{ ref('credit_note_postings') }}

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
