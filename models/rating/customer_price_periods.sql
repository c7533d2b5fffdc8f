-- Billing rules, section 5: the prices that apply to a customer, by month. A contract's price replaces the plan's. Time counts
-- whether or not a sandbox runs: allowances and fees depend on it.
with

months as (

    select
        customer_id,
        plan_id,
        contract_id,
        is_trial,
        starts_at,
        ends_at,
        {{ starts_of_each('month', 'starts_at', 'ends_at') }} as month_starts_at
    from {{ ref('customer_terms') }}

),

terms as (

    select
        months.customer_id,
        currencies.currency,
        {{ billing_period('months.month_starts_at') }} as period,
        months.plan_id,
        months.contract_id,
        months.is_trial,
        greatest(months.starts_at, months.month_starts_at) as starts_at,
        least(months.ends_at, months.month_starts_at + interval 1 month) as ends_at
    from months
    inner join {{ ref('customer_currencies') }} as currencies
        on
            months.customer_id = currencies.customer_id
            and months.month_starts_at >= currencies.starts_at
            and months.month_starts_at < currencies.ends_at

),

contract_prices as (

    select
        terms.customer_id,
        terms.currency,
        terms.period,
        terms.plan_id,
        terms.is_trial,
        prices.price_kind,
        prices.price_id,
        prices.meter_id,
        greatest(terms.starts_at, prices.starts_at) as starts_at,
        least(terms.ends_at, prices.ends_at) as ends_at
    from terms
    inner join {{ ref('price_versions') }} as prices
        on
            terms.contract_id = prices.contract_id
            and terms.currency = prices.currency

),

contract_price_starts as (

    select distinct
        contract_id,
        price_kind,
        meter_id,
        currency,
        first_starts_at
    from {{ ref('price_versions') }}
    where contract_id is not null

),

-- The plan's price applies until the contract's own first price for the same meter.
plan_prices as (

    select
        terms.customer_id,
        terms.currency,
        terms.period,
        terms.plan_id,
        terms.is_trial,
        prices.price_kind,
        prices.price_id,
        prices.meter_id,
        greatest(terms.starts_at, prices.starts_at) as starts_at,
        least(
            terms.ends_at,
            prices.ends_at,
            coalesce(contract_price_starts.first_starts_at, {{ end_of_time() }})
        ) as ends_at
    from terms
    inner join {{ ref('price_versions') }} as prices
        on
            terms.plan_id = prices.plan_id
            and terms.currency = prices.currency
    left join contract_price_starts
        on
            terms.contract_id = contract_price_starts.contract_id
            and prices.price_kind = contract_price_starts.price_kind
            and prices.meter_id = contract_price_starts.meter_id
            and prices.currency = contract_price_starts.currency

),

price_periods as (

    select * from contract_prices
    union all
    select * from plan_prices

)

select
    customer_id,
    currency,
    period,
    plan_id,
    is_trial,
    price_kind,
    price_id,
    meter_id,
    starts_at,
    ends_at,
    {{ microseconds_between('starts_at', 'ends_at') }} as duration_microseconds
from price_periods
where starts_at < ends_at
