{{ config(materialized='ephemeral') }}
with

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

)

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
