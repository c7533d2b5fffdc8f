-- Billing rules, section 5. Fails if a contract that has begun is at no time in its customer's currency: it would apply to nothing, without an
-- error. A customer whose records name no currency is billed in the default currency.
select
    contracts.customer_id,
    contracts.contract_id,
    {{ to_utc('contracts.starts_at') }} as starts_at,
    contracts.currency as contract_currency,
    accounts.currency as customer_currency,
    'write the contract in the customer''s currency, or land a customer record with the contract''s' as next_step
from {{ ref('contracts') }} as contracts
inner join {{ ref('customer_accounts') }} as accounts on contracts.customer_id = accounts.customer_id
cross join {{ ref('stg_build_inputs') }} as build
left join {{ ref('customer_currencies') }} as currencies
    on
        contracts.customer_id = currencies.customer_id
        and contracts.currency = currencies.currency
        and {{ to_utc('contracts.starts_at') }} < currencies.ends_at
        and currencies.starts_at < coalesce({{ to_utc('contracts.ends_at') }}, {{ end_of_time() }})
where
    {{ to_utc('contracts.starts_at') }} <= build.as_of
    and currencies.customer_id is null
