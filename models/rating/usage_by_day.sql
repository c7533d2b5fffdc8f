{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_customer_days() }}"
) }}
-- The quantity of each meter that a customer used on each day, by plan and rate version.
with

metered_totals as (

    select
        totals.customer_id,
        totals.period,
        totals.usage_date,
        totals.slice_starts_at,
        totals.is_trial,
        meters.meter_id,
        {{ metered_quantity('meters', 'totals') }} as quantity
    from {{ ref('usage_totals') }} as totals
    {{ only_dirty_customer_days('totals') }}
    cross join {{ ref('meters') }} as meters

)

select
    totals.customer_id,
    totals.period,
    totals.usage_date,
    prices.currency,
    prices.plan_id,
    totals.meter_id,
    prices.price_id as rate_id,
    cast(sum(totals.quantity) as decimal(38, 12)) as quantity,
    cast(sum(case when totals.is_trial then totals.quantity else 0 end) as decimal(38, 12)) as trial_quantity
from metered_totals as totals
inner join {{ ref('customer_price_periods') }} as prices
    on
        totals.customer_id = prices.customer_id
        and totals.period = prices.period
        and totals.meter_id = prices.meter_id
        and totals.slice_starts_at >= prices.starts_at
        and totals.slice_starts_at < prices.ends_at
where prices.price_kind = 'rate' and totals.quantity > 0
group by
    totals.customer_id,
    totals.period,
    totals.usage_date,
    prices.currency,
    prices.plan_id,
    totals.meter_id,
    prices.price_id
