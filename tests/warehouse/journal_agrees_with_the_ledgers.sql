-- Fails if a customer's receivables or credit in the journal differ from billing.receivables or billing.credit_ledger.
with

booked as (

    select
        customer_id,
        currency,
        sum(case when account = 'Assets:Receivable' and not is_draft then amount else 0 end) as receivable_amount,
        sum(case when account = 'Liabilities:CustomerCredit' then -amount else 0 end) as credit_amount
    from {{ ref('journal') }}
    where account in ('Assets:Receivable', 'Liabilities:CustomerCredit')
    group by customer_id, currency

),

owed as (

    select
        customer_id,
        currency,
        sum(open_amount) as receivable_amount
    from {{ ref('receivables') }}
    group by customer_id, currency

),

credit as (

    select
        customer_id,
        currency,
        sum(closing_amount) as credit_amount
    from {{ ref('credit_ledger') }}
    where period = (select current_period from {{ ref('stg_build_inputs') }})
    group by customer_id, currency

),

-- Applications of drafts beyond the running month (fees in advance) have no month in the credit ledger yet.
compared as (

    select
        coalesce(booked.customer_id, owed.customer_id, credit.customer_id) as customer_id,
        coalesce(booked.currency, owed.currency, credit.currency) as currency,
        coalesce(booked.receivable_amount, 0) as booked_receivable_amount,
        coalesce(owed.receivable_amount, 0) as receivable_amount,
        coalesce(booked.credit_amount, 0) as booked_credit_amount,
        coalesce(credit.credit_amount, 0) as credit_amount
    from booked
    full outer join owed on booked.customer_id = owed.customer_id and booked.currency = owed.currency
    full outer join credit
        on
            coalesce(booked.customer_id, owed.customer_id) = credit.customer_id
            and coalesce(booked.currency, owed.currency) = credit.currency

)

select *
from compared
where booked_receivable_amount <> receivable_amount or booked_credit_amount <> credit_amount
