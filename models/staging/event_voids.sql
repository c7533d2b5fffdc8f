{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    full_refresh_when='voids_need_full_refresh'
) }}
-- depends_on: {{ ref('stg_usage_events') }}
-- depends_on: {{ ref('stg_build_inputs') }}
-- Billing rules, section 3: voids of events, each with the landed event. A voided id does not land again, so each void is looked up once.
select
    voids.event_id,
    voids.voided_at,
    voids.reason,
    events.customer_id,
    {{ timeline_key('events.sandbox_id', 'events.execution_id') }} as timeline_key,
    events.sandbox_id,
    events.execution_id,
    events.event_at,
    cast(events.event_at as date) as event_date,
    events.event_type,
    {%- for column in resource_columns() + quantity_columns() %}
    events.{{ column }},
    {%- endfor %}
    events.file_id,
    events.file_row
from {{ ref('stg_voids') }} as voids
left join {{ events_to_search_for_voids() }} as events on voids.event_id = events.event_id
where
    voids.event_id is not null
    {%- if reuses_rows() %}
    and voids.event_id not in (select event_id from {{ this }})
    {%- endif %}
