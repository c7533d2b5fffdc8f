-- Billing rules, section 6: every customer gets the sign-up grant once, ever, at its first event or first subscription record,
-- whichever is earlier. The amount is that of the plan in force then, or of the contract if that names one.
with

credit_versions as (

    select
        plan_id,
        contract_id,
        currency,
        credit_amount,
        {{ to_utc('valid_from') }} as starts_at,
        coalesce(
            lead({{ to_utc('valid_from') }}) over (
                partition by plan_id, contract_id, currency
                order by valid_from
            ),
            {{ end_of_time() }}
        ) as ends_at
    from {{ ref('signup_credits') }}

),

first_terms as (

    select
        accounts.customer_id,
        currencies.currency,
        accounts.first_seen_at,
        terms.plan_id,
        terms.contract_id
    from {{ ref('customer_accounts') }} as accounts
    inner join {{ ref('customer_terms') }} as terms
        on
            accounts.customer_id = terms.customer_id
            and accounts.first_seen_at >= terms.starts_at
            and accounts.first_seen_at < terms.ends_at
    inner join {{ ref('customer_currencies') }} as currencies
        on
            accounts.customer_id = currencies.customer_id
            and accounts.first_seen_at >= currencies.starts_at
            and accounts.first_seen_at < currencies.ends_at

)

select
    'signup-' || first_terms.customer_id as grant_id,
    first_terms.customer_id,
    cast(coalesce(of_contract.credit_amount, of_plan.credit_amount) as decimal(18, 3)) as amount,
    first_terms.currency,
    first_terms.first_seen_at as granted_at,
    cast(null as timestamp) as expires_at,
    'usage' as scope,
    'signup' as source
from first_terms
left join credit_versions as of_contract
    on
        first_terms.contract_id = of_contract.contract_id
        and first_terms.currency = of_contract.currency
        and first_terms.first_seen_at >= of_contract.starts_at
        and first_terms.first_seen_at < of_contract.ends_at
left join credit_versions as of_plan
    on
        first_terms.plan_id = of_plan.plan_id
        and first_terms.currency = of_plan.currency
        and first_terms.first_seen_at >= of_plan.starts_at
        and first_terms.first_seen_at < of_plan.ends_at
where coalesce(of_contract.credit_amount, of_plan.credit_amount) > 0
