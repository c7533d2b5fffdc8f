-- Fails if a customer used a meter at a time for which the price book has no rate in its currency: the usage would not be billed.
with

used as (

    select
        segments.session_id,
        segments.sandbox_id,
        segments.execution_id,
        segments.customer_id,
        segments.started_at,
        segments.ended_at,
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
        quantities.sandbox_id,
        quantities.execution_id,
        quantities.customer_id,
        quantities.event_at as started_at,
        quantities.event_at as ended_at,
        meters.meter_id,
        cast({{ metered('meters.event_column', quantity_columns()) }} as decimal(38, 12)) as quantity
    from {{ ref('recorded_quantities') }} as quantities
    {{ only_dirty_executions('quantities') }}
    cross join {{ ref('meters') }} as meters
    where meters.meter_kind = 'summed'

),

-- The quantity of an event outside any session has no session_id.
used_by_session as (

    select
        coalesce(session_id, '') as session_id,
        sandbox_id,
        execution_id,
        customer_id,
        meter_id,
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        sum(quantity) as quantity
    from used
    group by coalesce(session_id, ''), sandbox_id, execution_id, customer_id, meter_id

),

priced_by_session as (

    select
        coalesce(priced.session_id, '') as session_id,
        priced.sandbox_id,
        priced.execution_id,
        priced.meter_id,
        sum(priced.quantity) as quantity
    from {{ ref('priced_segments') }} as priced
    {{ only_dirty_executions('priced') }}
    where {{ may_touch_dirty_days('priced.started_at', 'priced.ended_at') }}
    group by coalesce(priced.session_id, ''), priced.sandbox_id, priced.execution_id, priced.meter_id

)

select
    used_by_session.customer_id,
    used_by_session.sandbox_id,
    used_by_session.session_id,
    used_by_session.started_at,
    used_by_session.ended_at,
    used_by_session.meter_id,
    accounts.currency,
    used_by_session.quantity,
    coalesce(priced_by_session.quantity, 0) as priced_quantity
from used_by_session
left join {{ ref('customer_accounts') }} as accounts on used_by_session.customer_id = accounts.customer_id
left join priced_by_session
    on
        used_by_session.session_id = priced_by_session.session_id
        and used_by_session.sandbox_id = priced_by_session.sandbox_id
        and used_by_session.execution_id = priced_by_session.execution_id
        and used_by_session.meter_id = priced_by_session.meter_id
where used_by_session.quantity <> coalesce(priced_by_session.quantity, 0)
