{{ config(materialized='view') }}
-- Credit that is given, that expires and that a void takes back. Applied credit is part of the invoice's entry.
with

credit_changes as (

    select
        grant_id,
        customer_id,
        currency,
        'credit_granted' as entry_kind,
        case
            when {{ billing_period('granted_at') }} = period then cast(granted_at as date)
            else cast(period || '-01' as date)
        end as entry_date,
        -- Purchased credit was paid for outside Billhouse; all other credit reduces income.
        case when source = 'purchased' then 'Assets:CreditPurchases' else 'Income:CreditsGranted' end as counter_account,
        granted_amount as given_amount
    from {{ ref('credit_months') }}
    where granted_amount <> 0

    union all

    select
        grant_id,
        customer_id,
        currency,
        'credit_expired' as entry_kind,
        cast(cast(period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date) as entry_date,
        'Income:CreditsExpired' as counter_account,
        voided_amount - expired_amount as given_amount
    from {{ ref('credit_months') }}
    where expired_amount <> 0

    union all

    select
        grant_id,
        customer_id,
        currency,
        'credit_voided' as entry_kind,
        cast(cast(period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date) as entry_date,
        -- A void reverses the entry of the grant: same account.
        case when source = 'purchased' then 'Assets:CreditPurchases' else 'Income:CreditsGranted' end as counter_account,
        -voided_amount as given_amount
    from {{ ref('credit_months') }}
    where voided_amount <> 0

)

select
    entry_kind,
    grant_id as reference,
    entry_date,
    customer_id,
    cast(null as string) as invoice_id,
    'Liabilities:CustomerCredit' as account,
    '' as meter_id,
    -given_amount as amount,
    currency,
    false as is_draft
from credit_changes

union all

select
    entry_kind,
    grant_id as reference,
    entry_date,
    customer_id,
    cast(null as string) as invoice_id,
    counter_account as account,
    '' as meter_id,
    given_amount as amount,
    currency,
    false as is_draft
from credit_changes
