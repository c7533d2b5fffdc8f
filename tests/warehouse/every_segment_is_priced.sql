-- Fails if a customer used a meter at a time for which the price book has no rate in its currency: the usage would not be billed. Names the
-- segments.
with

unpriced_totals as (

    select
        totals.customer_id,
        totals.usage_date,
        totals.slice_starts_at,
        meters.meter_id,
        meters.event_column,
        {{ metered_quantity('meters', 'totals') }} as quantity
    from {{ ref('usage_totals') }} as totals
    cross join {{ ref('meters') }} as meters
    left join {{ ref('customer_price_periods') }} as prices
        on
            totals.customer_id = prices.customer_id
            and totals.period = prices.period
            and meters.meter_id = prices.meter_id
            and totals.slice_starts_at >= prices.starts_at
            and totals.slice_starts_at < prices.ends_at
    where
        prices.price_id is null
        and {{ metered_quantity('meters', 'totals') }} > 0

),

-- Almost always none: the engine then reads no segment and no session.
segments as (

    select *
    from {{ ref('usage_segments') }}
    where usage_date in (select usage_date from unpriced_totals)

),

sessions as (

    select
        session_key,
        session_id,
        sandbox_id
    from {{ ref('sandbox_sessions') }}
    where session_key in (select session_key from segments)

)

select
    totals.customer_id,
    sessions.sandbox_id,
    sessions.session_id,
    segments.started_at,
    segments.ended_at,
    totals.meter_id,
    accounts.currency,
    totals.quantity as quantity_of_day
from unpriced_totals as totals
left join segments
    on
        totals.customer_id = segments.customer_id
        and totals.usage_date = segments.usage_date
        and coalesce(totals.slice_starts_at, {{ beginning_of_time() }})
        = coalesce(segments.slice_starts_at, {{ beginning_of_time() }})
        and {{ metered('totals.event_column', resource_columns() + quantity_columns()) }} > 0
left join sessions on segments.session_key = sessions.session_key
left join {{ ref('customer_accounts') }} as accounts on totals.customer_id = accounts.customer_id
