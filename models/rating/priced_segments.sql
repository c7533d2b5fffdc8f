{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_executions('existing.usage_date in (select usage_date from ' ~ ref('dirty_customer_days') ~ ')') }}"
) }}
-- depends_on: {{ ref('dirty_customer_days') }}
-- Billing rules, section 4: a segment is split where the rate of a meter changes; each piece has one quantity per held meter
-- (resource x seconds). The quantity of a summed meter is priced at the instant of its event.
with

segments as (

    select * from {{ ref('usage_segments') }}

),

rate_periods as (

    select
        price_periods.customer_id,
        price_periods.currency,
        price_periods.period,
        price_periods.plan_id,
        price_periods.is_trial,
        price_periods.price_id as rate_id,
        price_periods.meter_id,
        meters.meter_kind,
        meters.event_column,
        price_periods.starts_at,
        price_periods.ends_at
    from {{ ref('customer_price_periods') }} as price_periods
    inner join {{ ref('meters') }} as meters on price_periods.meter_id = meters.meter_id
    where price_periods.price_kind = 'rate'

),

split_segments as (

    select
        segments.session_id,
        segments.sandbox_id,
        segments.execution_id,
        segments.customer_id,
        segments.period,
        segments.usage_date,
        rate_periods.currency,
        rate_periods.plan_id,
        rate_periods.is_trial,
        rate_periods.meter_id,
        rate_periods.rate_id,
        {{ metered('rate_periods.event_column', resource_columns()) }} as resource,
        greatest(segments.started_at, rate_periods.starts_at) as started_at,
        least(segments.ended_at, rate_periods.ends_at) as ended_at
    from segments
    inner join rate_periods
        on
            segments.customer_id = rate_periods.customer_id
            and segments.period = rate_periods.period
            and segments.started_at < rate_periods.ends_at
            and rate_periods.starts_at < segments.ended_at
    where rate_periods.meter_kind = 'held'

),

held_quantities as (

    select
        session_id,
        sandbox_id,
        execution_id,
        customer_id,
        period,
        usage_date,
        currency,
        plan_id,
        is_trial,
        meter_id,
        rate_id,
        started_at,
        ended_at,
        {{ to_unit_seconds(unit_microseconds('resource', microseconds_between('started_at', 'ended_at'))) }} as quantity
    from split_segments

),

summed_quantities as (

    select
        quantities.session_id,
        quantities.sandbox_id,
        quantities.execution_id,
        quantities.customer_id,
        quantities.period,
        quantities.usage_date,
        rate_periods.currency,
        rate_periods.plan_id,
        rate_periods.is_trial,
        rate_periods.meter_id,
        rate_periods.rate_id,
        quantities.event_at as started_at,
        quantities.event_at as ended_at,
        cast({{ metered('rate_periods.event_column', quantity_columns()) }} as decimal(38, 12)) as quantity
    from {{ ref('recorded_quantities') }} as quantities
    {{ only_dirty_executions('quantities') }}
    inner join rate_periods
        on
            quantities.customer_id = rate_periods.customer_id
            and quantities.period = rate_periods.period
            and quantities.event_at >= rate_periods.starts_at
            and quantities.event_at < rate_periods.ends_at
    where rate_periods.meter_kind = 'summed'

)

select
    session_id,
    sandbox_id,
    execution_id,
    customer_id,
    period,
    usage_date,
    currency,
    plan_id,
    is_trial,
    meter_id,
    rate_id,
    started_at,
    ended_at,
    quantity
from held_quantities
where quantity > 0
union all
select
    session_id,
    sandbox_id,
    execution_id,
    customer_id,
    period,
    usage_date,
    currency,
    plan_id,
    is_trial,
    meter_id,
    rate_id,
    started_at,
    ended_at,
    quantity
from summed_quantities
where quantity > 0
