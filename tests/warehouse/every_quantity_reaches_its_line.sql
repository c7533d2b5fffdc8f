-- Fails if a meter's total quantity differs between events, segments, days and due lines: usage would be lost or counted twice between two
-- models. Over all of history, on every build.
{% set meters = ref('meters') %}
with

carried as (

    {% for quantity in quantity_columns() %}
    select
        '{{ quantity }}' as event_column,
        cast(coalesce(sum({{ quantity }}), 0) as decimal(38, 12)) as quantity
    from {{ ref('compacted_events') }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

recorded as (

    {% for quantity in quantity_columns() %}
    select
        '{{ quantity }}' as event_column,
        cast(coalesce(sum({{ quantity }}), 0) as decimal(38, 12)) as quantity
    from {{ ref('recorded_quantities') }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

segments as (

    {% for resource in resource_columns() %}
    select
        '{{ resource }}' as event_column,
        {{ to_unit_seconds('coalesce(sum(' ~ unit_microseconds(resource, 'duration_microseconds') ~ '), 0)') }} as quantity
    from {{ ref('usage_segments') }}
    union all
    {% endfor %}
    {% for quantity in quantity_columns() %}
    select
        '{{ quantity }}' as event_column,
        cast(coalesce(sum({{ quantity }}), 0) as decimal(38, 12)) as quantity
    from {{ ref('usage_segments') }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

totals as (

    select
        meters.meter_id,
        sum({{ metered_quantity('meters', 'totals') }}) as quantity
    from {{ ref('usage_totals') }} as totals
    cross join {{ meters }} as meters
    group by meters.meter_id

),

by_day as (

    select
        meter_id,
        sum(quantity) as quantity
    from {{ ref('usage_by_day') }}
    group by meter_id

),

on_lines as (

    select
        meter_id,
        sum(quantity) as quantity
    from {{ ref('due_lines') }}
    where line_type = 'usage'
    group by meter_id

),

meters as (

    select
        meters.meter_id,
        meters.meter_kind,
        carried.quantity as carried_quantity,
        recorded.quantity as recorded_quantity,
        coalesce(segments.quantity, 0) as segments_quantity,
        coalesce(totals.quantity, 0) as totals_quantity,
        coalesce(by_day.quantity, 0) as days_quantity,
        coalesce(on_lines.quantity, 0) as lines_quantity
    from {{ meters }} as meters
    left join carried on meters.event_column = carried.event_column
    left join recorded on meters.event_column = recorded.event_column
    left join segments on meters.event_column = segments.event_column
    left join totals on meters.meter_id = totals.meter_id
    left join by_day on meters.meter_id = by_day.meter_id
    left join on_lines on meters.meter_id = on_lines.meter_id

)

select
    meter_id,
    carried_quantity,
    recorded_quantity,
    segments_quantity,
    totals_quantity,
    days_quantity,
    lines_quantity
from meters
where
    segments_quantity <> totals_quantity
    or totals_quantity <> days_quantity
    or days_quantity <> lines_quantity
    or (meter_kind = 'summed' and (carried_quantity <> recorded_quantity or recorded_quantity <> segments_quantity))
