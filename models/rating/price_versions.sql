-- Rates and fees of the price book with their time: a row applies until the next row of the same plan or contract, meter and
-- currency. A row that another one replaces (replaces_rate_id, replaces_fee_id) never applies.
with

prices as (

    select
        'rate' as price_kind,
        rate_id as price_id,
        plan_id,
        contract_id,
        meter_id,
        currency,
        {{ to_utc('valid_from') }} as starts_at
    from {{ ref('rates') }}
    where rate_id not in (select replaces_rate_id from {{ ref('rates') }} where replaces_rate_id is not null)

    union all

    select
        'fee' as price_kind,
        fee_id as price_id,
        plan_id,
        contract_id,
        '' as meter_id,
        currency,
        {{ to_utc('valid_from') }} as starts_at
    from {{ ref('plan_fees') }}
    where fee_id not in (select replaces_fee_id from {{ ref('plan_fees') }} where replaces_fee_id is not null)

)

select
    price_kind,
    price_id,
    plan_id,
    contract_id,
    meter_id,
    currency,
    starts_at,
    coalesce(
        lead(starts_at) over (
            partition by price_kind, plan_id, contract_id, meter_id, currency
            order by starts_at
        ),
        {{ end_of_time() }}
    ) as ends_at,
    min(starts_at) over (
        partition by price_kind, plan_id, contract_id, meter_id, currency
    ) as first_starts_at
from prices
