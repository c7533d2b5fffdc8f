{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_executions('existing.usage_date in (select usage_date from ' ~ ref('dirty_customer_days') ~ ')') }}"
) }}
-- depends_on: {{ ref('dirty_customer_days') }}
-- Billing rules, section 4: segments. Pieces of sessions with constant resources, cut at midnight UTC and where the plan or a rate changes. Each
-- lies in one day, one billing period and one price slice, and has a column for every resource. The quantities of an instant are a segment
-- without length.
with

pieces_by_day as (

    select
        *,
        {{ starts_of_each('day', 'started_at', 'ended_at') }} as day_starts_at
    from {{ ref('session_pieces') }}

),

day_segments as (

    select
        session_key,
        timeline_key,
        customer_id,
        cast(day_starts_at as date) as usage_date,
        {{ billing_period('day_starts_at') }} as period,
        greatest(started_at, day_starts_at) as started_at,
        least(ended_at, day_starts_at + interval 1 day) as ended_at,
        is_whole_session and day_starts_at <= started_at and ended_at <= day_starts_at + interval 1 day as is_whole_session,
        {%- for resource in resource_columns() %}
        {{ resource }},
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        cast(0 as decimal(38, 6)) as {{ quantity }}{{ ',' if not loop.last }}
        {%- endfor %}
    from pieces_by_day

    union all

    select
        quantities.session_key,
        quantities.timeline_key,
        quantities.customer_id,
        quantities.usage_date,
        quantities.period,
        quantities.event_at as started_at,
        quantities.event_at as ended_at,
        false as is_whole_session,
        {%- for resource in resource_columns() %}
        cast(0 as decimal(18, 6)) as {{ resource }},
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        quantities.{{ quantity }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('recorded_quantities') }} as quantities
    {{ only_dirty_executions('quantities') }}
    where
        {%- for quantity in quantity_columns() %}
        {{ 'or ' if not loop.first }}quantities.{{ quantity }} > 0
        {%- endfor %}

),

-- A left join, so that no usage is lost: the test every_segment_is_priced fails the build where a customer has no price at all.
segments as (

    select
        segments.session_key,
        segments.timeline_key,
        segments.customer_id,
        segments.period,
        segments.usage_date,
        slices.starts_at as slice_starts_at,
        slices.currency,
        slices.plan_id,
        slices.is_trial,
        greatest(segments.started_at, slices.starts_at) as started_at,
        least(segments.ended_at, slices.ends_at) as ended_at,
        segments.is_whole_session
        and coalesce(slices.starts_at <= segments.started_at and segments.ended_at <= slices.ends_at, true) as is_whole_session,
        {%- for column in resource_columns() + quantity_columns() %}
        segments.{{ column }},
        {%- endfor %}
        {%- for column in resource_columns() + quantity_columns() %}
        slices.{{ column }}_unit_price{{ ',' if not loop.last }}
        {%- endfor %}
    from day_segments as segments
    left join {{ ref('price_slices') }} as slices
        on
            segments.customer_id = slices.customer_id
            and segments.period = slices.period
            and segments.started_at < slices.ends_at
            and (segments.ended_at > slices.starts_at or segments.started_at = slices.starts_at)

),

measured_segments as (

    select
        *,
        {{ microseconds_between('started_at', 'ended_at') }} as duration_microseconds
    from segments

)

select
    session_key,
    timeline_key,
    customer_id,
    period,
    usage_date,
    slice_starts_at,
    currency,
    plan_id,
    is_trial,
    started_at,
    ended_at,
    is_whole_session,
    duration_microseconds,
    {%- for column in resource_columns() + quantity_columns() %}
    {{ column }},
    {%- endfor %}
    cast(0 as decimal(38, 24))
    {%- for resource in resource_columns() %}
    + {{ exact_product(
        to_unit_seconds(unit_microseconds(resource, 'duration_microseconds')), resource ~ '_unit_price'
    ) }}
    {%- endfor %}
    {%- for quantity in quantity_columns() %}
    + {{ exact_product(quantity, quantity ~ '_unit_price') }}
    {%- endfor %} as list_amount
from measured_segments
