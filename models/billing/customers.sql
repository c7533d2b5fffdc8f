with

current_terms as (

    select
        terms.customer_id,
        terms.plan_id,
        terms.contract_id
    from {{ ref('customer_terms') }} as terms
    inner join {{ ref('stg_build_inputs') }} as build
        on
            build.as_of >= terms.starts_at
            and build.as_of < terms.ends_at

)

select
    accounts.customer_id,
    accounts.name,
    accounts.email,
    coalesce(accounts.language, 'en') as language,
    accounts.currency,
    current_terms.plan_id,
    current_terms.contract_id,
    accounts.stripe_customer_id,
    cast(accounts.monthly_spend_limit_amount as decimal(18, 3)) as monthly_spend_limit_amount,
    {{ from_utc('accounts.created_at') }} as created_at,
    {{ from_utc('accounts.first_seen_at') }} as first_seen_at
from {{ ref('customer_accounts') }} as accounts
left join current_terms on accounts.customer_id = current_terms.customer_id
