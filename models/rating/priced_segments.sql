{{ config(materialized='view') }}
-- The quantity and the rate of each meter in each segment, for those who explain a line or compare use with what was billed. A view: a build
-- sums segments before it multiplies them by meters.
with

quantities_without_session as (

    select
        timeline_key,
        event_at,
        sandbox_id,
        execution_id
    from {{ ref('recorded_quantities') }}
    where session_key is null

)

select
    sessions.session_id,
    coalesce(sessions.sandbox_id, quantities.sandbox_id) as sandbox_id,
    coalesce(sessions.execution_id, quantities.execution_id) as execution_id,
    segments.customer_id,
    segments.period,
    segments.usage_date,
    prices.currency,
    prices.plan_id,
    prices.is_trial,
    prices.meter_id,
    prices.price_id as rate_id,
    segments.started_at,
    segments.ended_at,
    case
        when meters.meter_kind = 'held'
            then {{ to_unit_seconds(unit_microseconds(
                metered('meters.event_column', resource_columns()), 'segments.duration_microseconds'
            )) }}
        else cast({{ metered('meters.event_column', quantity_columns()) }} as decimal(38, 12))
    end as quantity
from {{ ref('usage_segments') }} as segments
inner join {{ ref('customer_price_periods') }} as prices
    on
        segments.customer_id = prices.customer_id
        and segments.period = prices.period
        and segments.slice_starts_at >= prices.starts_at
        and segments.slice_starts_at < prices.ends_at
left join {{ ref('sandbox_sessions') }} as sessions on segments.session_key = sessions.session_key
left join quantities_without_session as quantities
    on
        segments.session_key is null
        and segments.timeline_key = quantities.timeline_key
        and segments.started_at = quantities.event_at
inner join {{ ref('meters') }} as meters on prices.meter_id = meters.meter_id
where
    prices.price_kind = 'rate'
    and (
        (meters.meter_kind = 'held' and segments.duration_microseconds > 0)
        or meters.meter_kind = 'summed'
    )
    and {{ metered('meters.event_column', resource_columns() + quantity_columns()) }} > 0
