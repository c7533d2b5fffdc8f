-- The months of each customer, cut where the plan or a usage price changes: within a slice every meter has one rate, or none. With the unit
-- price of each resource and quantity for list amounts.
with

usage_prices as (

    select
        periods.customer_id,
        periods.period,
        periods.currency,
        periods.plan_id,
        periods.is_trial,
        periods.starts_at,
        periods.ends_at,
        meters.event_column,
        case
            when periods.is_trial then cast(0 as decimal(38, 12))
            else {{ list_unit_price('rates') }}
        end as list_unit_price
    from {{ ref('customer_price_periods') }} as periods
    inner join {{ ref('meters') }} as meters on periods.meter_id = meters.meter_id
    inner join {{ ref('rates') }} as rates on periods.price_id = rates.rate_id
    where periods.price_kind = 'rate'

),

months as (

    select distinct
        customer_id,
        period,
        cast(period || '-01' as timestamp) as month_starts_at
    from usage_prices

),

-- A month is covered from its first instant to its last, also where no price applies: usage there is found by every_segment_is_priced.
boundaries as (

    select
        customer_id,
        period,
        month_starts_at as starts_at
    from months

    union

    select
        customer_id,
        period,
        starts_at
    from usage_prices

    union

    select
        customer_id,
        period,
        ends_at as starts_at
    from usage_prices

),

slices as (

    select
        boundaries.customer_id,
        boundaries.period,
        boundaries.starts_at,
        coalesce(
            lead(boundaries.starts_at) over (
                partition by boundaries.customer_id, boundaries.period order by boundaries.starts_at
            ),
            months.month_starts_at + interval 1 month
        ) as ends_at
    from boundaries
    inner join months
        on
            boundaries.customer_id = months.customer_id
            and boundaries.period = months.period

)

select
    slices.customer_id,
    slices.period,
    slices.starts_at,
    slices.ends_at,
    min(prices.currency) as currency,
    min(prices.plan_id) as plan_id,
    max(case when prices.is_trial then 1 else 0 end) = 1 as is_trial,
    {%- for column in resource_columns() + quantity_columns() %}
    cast(
        coalesce(sum(case when prices.event_column = '{{ column }}' then prices.list_unit_price end), 0) as decimal(38, 12)
    ) as {{ column }}_unit_price{{ ',' if not loop.last }}
    {%- endfor %}
from slices
left join usage_prices as prices
    on
        slices.customer_id = prices.customer_id
        and slices.period = prices.period
        and slices.starts_at >= prices.starts_at
        and slices.starts_at < prices.ends_at
where slices.starts_at < slices.ends_at
group by slices.customer_id, slices.period, slices.starts_at, slices.ends_at
