-- Fails if two prices of one fee or meter hold for a customer at the same time: usage would be billed twice.
with

prices_in_order as (

    select
        customer_id,
        currency,
        price_kind,
        meter_id,
        price_id,
        starts_at,
        ends_at,
        lag(ends_at) over (
            partition by customer_id, currency, price_kind, meter_id
            order by starts_at, ends_at
        ) as previous_ends_at
    from {{ ref('customer_price_periods') }}

)

select
    customer_id,
    currency,
    price_kind,
    meter_id,
    price_id,
    starts_at,
    previous_ends_at
from prices_in_order
where starts_at < previous_ends_at
