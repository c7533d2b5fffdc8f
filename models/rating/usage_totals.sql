{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_customer_days() }}"
) }}
-- What a customer held and used on each day in each price slice: segments are summed before they are multiplied by meters and rates.
select
    segments.customer_id,
    segments.period,
    segments.usage_date,
    segments.slice_starts_at,
    segments.currency,
    segments.plan_id,
    segments.is_trial,
    {%- for resource in resource_columns() %}
    cast(
        sum({{ unit_microseconds('segments.' ~ resource, 'segments.duration_microseconds') }}) as decimal(38, 6)
    ) as {{ resource }}_microseconds,
    {%- endfor %}
    {%- for quantity in quantity_columns() %}
    cast(sum(segments.{{ quantity }}) as decimal(38, 6)) as {{ quantity }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ ref('usage_segments') }} as segments
{{ only_dirty_customer_days('segments') }}
group by
    segments.customer_id,
    segments.period,
    segments.usage_date,
    segments.slice_starts_at,
    segments.currency,
    segments.plan_id,
    segments.is_trial
