-- Fails if a customer used a meter at a time for which the price book has no rate in its currency: it would not be billed.
with

used as (

    select
        segments.session_id,
        segments.customer_id,
        segments.usage_date,
        meters.meter_id,
        {{ to_unit_seconds(unit_microseconds(
            metered('meters.event_column', resource_columns()), 'segments.duration_microseconds'
        )) }} as quantity
    from {{ ref('usage_segments') }} as segments
    cross join {{ ref('meters') }} as meters
    where meters.meter_kind = 'held'

    union all

    select
        quantities.session_id,
        quantities.customer_id,
        quantities.usage_date,
        meters.meter_id,
        cast({{ metered('meters.event_column', quantity_columns()) }} as decimal(38, 12)) as quantity
    from {{ ref('session_quantities') }} as quantities
    cross join {{ ref('meters') }} as meters
    where meters.meter_kind = 'summed'

),

used_by_day as (

    select
        customer_id,
        usage_date,
        meter_id,
        sum(quantity) as quantity
    from used
    group by customer_id, usage_date, meter_id

),

priced_by_day as (

    select
        customer_id,
        usage_date,
        meter_id,
        sum(quantity) as quantity
    from {{ ref('usage_by_day') }}
    group by customer_id, usage_date, meter_id

)

select
    used_by_day.customer_id,
    used_by_day.usage_date,
    used_by_day.meter_id,
    used_by_day.quantity,
    priced_by_day.quantity as priced_quantity
from used_by_day
left join priced_by_day
    on
        used_by_day.customer_id = priced_by_day.customer_id
        and used_by_day.usage_date = priced_by_day.usage_date
        and used_by_day.meter_id = priced_by_day.meter_id
where used_by_day.quantity <> coalesce(priced_by_day.quantity, 0)
