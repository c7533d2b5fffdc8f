-- Fails if a contract that has begun is never in the currency that its customer is billed in: it would apply to nothing, in silence. What
-- landed records say of the currency is checked before a build; a customer without a record is billed in the default currency.
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
