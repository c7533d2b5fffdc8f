-- Double-entry bookkeeping: every event that moves money as postings that sum to zero; debits positive, credits negative.
-- An invoice is booked on its month's last day; what Stripe did on the day it did it. docs/exports.md has the chart of accounts.
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

),

invoices as (

    select
        *,
        cast(cast(period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date) as entry_date
    from issued

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

),

line_accounts as (

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
    inner join invoices on lines.invoice_id = invoices.invoice_id

),

invoice_postings as (

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
    from line_accounts

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
    from invoices

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
    from invoices

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
    from invoices

),

-- A fee in advance is earned in its own month.
advance_fees as (

    select
        invoice_id,
        customer_id,
        currency,
        is_draft,
        service_period,
        cast(cast(service_period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date) as entry_date,
        sum(amount) as amount
    from line_accounts
    where is_in_advance and service_period <= (select current_period from {{ ref('stg_build_inputs') }})
    group by invoice_id, customer_id, currency, is_draft, service_period

),

recognition_postings as (

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

),

credits as (

    select
        grant_id,
        customer_id,
        currency,
        source,
        period,
        granted_amount,
        expired_amount - voided_amount as expired_amount,
        voided_amount,
        case
            when {{ billing_period('granted_at') }} = period then cast(granted_at as date)
            else cast(period || '-01' as date)
        end as granted_date,
        cast(cast(period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date) as month_end_date
    from {{ ref('credit_months') }}
    where granted_amount <> 0 or expired_amount <> 0

),

credit_postings as (

    select
        'credit_granted' as entry_kind,
        grant_id as reference,
        granted_date as entry_date,
        customer_id,
        cast(null as string) as invoice_id,
        'Liabilities:CustomerCredit' as account,
        '' as meter_id,
        -granted_amount as amount,
        currency,
        false as is_draft
    from credits

    union all

    select
        'credit_granted',
        grant_id,
        granted_date,
        customer_id,
        cast(null as string),
        -- Bought credit was paid for, outside of what we bill; given credit lessens revenue.
        case when source = 'purchased' then 'Assets:CreditPurchases' else 'Income:CreditsGranted' end,
        '',
        granted_amount,
        currency,
        false
    from credits

    union all

    select
        'credit_expired',
        grant_id,
        month_end_date,
        customer_id,
        cast(null as string),
        'Liabilities:CustomerCredit',
        '',
        expired_amount,
        currency,
        false
    from credits

    union all

    select
        'credit_expired',
        grant_id,
        month_end_date,
        customer_id,
        cast(null as string),
        'Income:CreditsExpired',
        '',
        -expired_amount,
        currency,
        false
    from credits

    union all

    select
        'credit_voided',
        grant_id,
        month_end_date,
        customer_id,
        cast(null as string),
        'Liabilities:CustomerCredit',
        '',
        voided_amount,
        currency,
        false
    from credits

    union all

    -- What is left of a grant that should not have been given goes back to where it was taken from.
    select
        'credit_voided',
        grant_id,
        month_end_date,
        customer_id,
        cast(null as string),
        case when source = 'purchased' then 'Assets:CreditPurchases' else 'Income:CreditsGranted' end,
        '',
        -voided_amount,
        currency,
        false
    from credits

),

receivables as (

    select * from {{ ref('receivables_due') }}

),

payments as (

    select
        receivables.invoice_id,
        receivables.customer_id,
        receivables.currency,
        payments.stripe_payment_id as reference,
        cast(payments.paid_at as date) as entry_date,
        'Assets:Stripe' as account,
        payments.paid_amount as amount
    from {{ ref('stg_stripe_payments') }} as payments
    inner join receivables on payments.stripe_invoice_id = receivables.stripe_invoice_id
    where payments.stripe_status = 'paid'

),

payment_sums as (

    select
        invoice_id,
        sum(amount) as amount
    from payments
    group by invoice_id

),

settled as (

    select * from payments

    union all

    -- Marked as paid, and not through Stripe.
    select
        receivables.invoice_id,
        receivables.customer_id,
        receivables.currency,
        receivables.invoice_id as reference,
        cast(receivables.paid_at as date) as entry_date,
        'Assets:PaidOutsideStripe' as account,
        cast(receivables.paid_amount - coalesce(sums.amount, 0) as decimal(18, 3)) as amount
    from receivables
    left join payment_sums as sums on receivables.invoice_id = sums.invoice_id
    where receivables.paid_at is not null

),

-- Tax that somebody had added in Stripe, and what its finalizing took from the customer's balance there (or, below zero, added to it).
finalized as (

    select
        invoice_id,
        customer_id,
        currency,
        cast(finalized_at as date) as entry_date,
        'tax' as entry_kind,
        'Liabilities:TaxCollected' as account,
        -tax_amount as amount
    from receivables
    where finalized_at is not null

    union all

    select
        invoice_id,
        customer_id,
        currency,
        cast(finalized_at as date),
        'balance',
        'Liabilities:CustomerBalance',
        balance_applied_amount
    from receivables
    where finalized_at is not null

    union all

    -- What is void owes no tax, and gives back to the balance what it had paid.
    select
        invoice_id,
        customer_id,
        currency,
        cast(voided_at as date),
        'write_off',
        'Liabilities:TaxCollected',
        tax_amount
    from receivables
    where stripe_status = 'void'

    union all

    select
        invoice_id,
        customer_id,
        currency,
        cast(voided_at as date),
        'write_off',
        'Liabilities:CustomerBalance',
        -balance_applied_amount
    from receivables
    where stripe_status = 'void'

),

finalized_postings as (

    select
        entry_kind,
        invoice_id as reference,
        entry_date,
        customer_id,
        invoice_id,
        account,
        '' as meter_id,
        amount,
        currency,
        false as is_draft
    from finalized

    union all

    select
        entry_kind,
        invoice_id as reference,
        entry_date,
        customer_id,
        invoice_id,
        'Assets:Receivable',
        '',
        -amount,
        currency,
        false
    from finalized

),

payment_postings as (

    select
        'payment' as entry_kind,
        reference,
        entry_date,
        customer_id,
        invoice_id,
        account,
        '' as meter_id,
        amount,
        currency,
        false as is_draft
    from settled

    union all

    select
        'payment',
        reference,
        entry_date,
        customer_id,
        invoice_id,
        'Assets:Receivable',
        '',
        -amount,
        currency,
        false
    from settled

),

-- An invoice that was written off and paid after all is written back on that day.
write_offs as (

    select
        invoice_id,
        customer_id,
        currency,
        'write_off' as entry_kind,
        cast(case when stripe_status = 'void' then voided_at else marked_uncollectible_at end as date) as entry_date,
        case when stripe_status = 'void' then 'Income:Voided' else 'Expenses:BadDebt' end as account,
        written_off_amount - case when stripe_status = 'void' then tax_amount else 0 end as amount
    from receivables
    where stripe_status in ('void', 'uncollectible')

    union all

    select
        invoice_id,
        customer_id,
        currency,
        'write_off',
        cast(marked_uncollectible_at as date),
        'Expenses:BadDebt',
        paid_amount
    from receivables
    where stripe_status = 'paid' and marked_uncollectible_at <= paid_at

    union all

    select
        invoice_id,
        customer_id,
        currency,
        'write_back',
        cast(paid_at as date),
        'Expenses:BadDebt',
        -paid_amount
    from receivables
    where stripe_status = 'paid' and marked_uncollectible_at <= paid_at

),

write_off_postings as (

    select
        entry_kind,
        invoice_id as reference,
        entry_date,
        customer_id,
        invoice_id,
        account,
        '' as meter_id,
        amount,
        currency,
        false as is_draft
    from write_offs

    union all

    select
        entry_kind,
        invoice_id as reference,
        entry_date,
        customer_id,
        invoice_id,
        'Assets:Receivable',
        '',
        -amount,
        currency,
        false
    from write_offs

),

notes as (

    select
        *,
        cast(issued_at as date) as entry_date
    from {{ ref('issued_credit_notes') }}

),

note_postings as (

    select
        'credit_note' as entry_kind,
        credit_note_id as reference,
        entry_date,
        customer_id,
        invoice_id,
        'Income:Adjustments' as account,
        '' as meter_id,
        amount,
        currency,
        false as is_draft
    from notes

    union all

    select
        'credit_note',
        credit_note_id,
        entry_date,
        customer_id,
        invoice_id,
        'Liabilities:TaxCollected',
        '',
        tax_amount,
        currency,
        false
    from notes

    union all

    select
        'credit_note',
        credit_note_id,
        entry_date,
        customer_id,
        invoice_id,
        'Assets:Receivable',
        '',
        after_payment_amount - amount - tax_amount,
        currency,
        false
    from notes

    union all

    select
        'credit_note',
        credit_note_id,
        entry_date,
        customer_id,
        invoice_id,
        case settlement
            when 'refund' then 'Assets:Stripe'
            when 'outside' then 'Assets:PaidOutsideStripe'
            -- Also what a note that was made by hand gave back after payment: the mirror does not say by which way.
            else 'Liabilities:CustomerBalance'
        end,
        '',
        -after_payment_amount,
        currency,
        false
    from notes

),

postings as (

    select * from invoice_postings
    union all
    select * from recognition_postings
    union all
    select * from credit_postings
    union all
    select * from payment_postings
    union all
    select * from finalized_postings
    union all
    select * from write_off_postings
    union all
    select * from note_postings

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
