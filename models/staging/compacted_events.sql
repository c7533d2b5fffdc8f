{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    unique_key=['event_date', 'timeline_key'],
    full_refresh_when='must_compact_everything',
    pre_hook='{{ prepare_compaction() }}',
    post_hook='{{ record_compaction() }}'
) }}
-- depends_on: {{ ref('stg_usage_events') }}
-- depends_on: {{ ref('stg_landed_files') }}
-- depends_on: {{ ref('event_voids') }}
-- Billing rules, section 4: the events of each sandbox and day, with repeated heartbeats compacted: of consecutive updates with equal resources
-- and no silence between them only the first and the last instant matter to a session. Incremental: a day of a sandbox is recomputed from its
-- raw events when events of it landed or were voided.
{% set plan = compaction_plan() %}
{# Storing these CTEs is slower than reading them again, and costs memory. #}
{% set not_stored = 'not materialized ' if target.type == 'duckdb' else '' %}
{% set texts = ['sandbox_id', 'execution_id', 'customer_id'] %}
with

{% if plan.reads_in_part %}
resent_days as (

    select
        {{ timeline_key('sandbox_id', "coalesce(execution_id, '')") }} as timeline_key,
        cast({{ to_utc('event_at') }} as date) as event_date
    from {{ usage_events_in(plan.new_files) }}
    where file_id in (select file_id from {{ ref('stg_landed_files') }} where {{ is_new_file() | indent(4) }})

    union

    -- Days with an event that was voided since the last build.
    select
        {{ timeline_key('sandbox_id', 'execution_id') }} as timeline_key,
        event_date
    from {{ voids_to_apply() }} as voids

),

{% endif %}
all_events as {{ not_stored }}(

    {% if plan.reads_all %}
    select * from {{ ref('stg_usage_events') }}
    {% else %}
    select
        {{ usage_event_columns() | indent(8) }}
    from {{ usage_events_in(plan.files) }}
    {% endif %}

),

events as {{ not_stored }}(

    select
        all_events.event_id,
        {%- for column in texts %}
        all_events.{{ column }},
        {%- endfor %}
        all_events.event_at,
        all_events.event_type,
        {{ event_kind('all_events') }} as event_kind,
        all_events.reported_start_at,
        {%- for column in resource_columns() + quantity_columns() %}
        all_events.{{ column }},
        {%- endfor %}
        {{ event_slice('all_events.event_at', 'build') }} as slice
    from all_events
    cross join {{ ref('stg_build_inputs') }} as build
    {% if plan.reads_in_part %}
    inner join resent_days
        on
            {{ timeline_key('all_events.sandbox_id', 'all_events.execution_id') }} = resent_days.timeline_key
            and cast(all_events.event_at as date) = resent_days.event_date
    {% endif %}
    {% if plan.has_voids %}
    left join {{ ref('event_voids') }} as voids
        on
            all_events.file_id = voids.file_id
            and all_events.file_row = voids.file_row
            -- A source may make several events of one row.
            and all_events.event_id = voids.event_id
            and voids.voided_at <= build.as_of
    {% endif %}
    where
        all_events.event_at <= build.as_of
        and all_events.event_at >= build.books_open_at
        {%- if plan.has_voids %}
        and voids.event_id is null
        {%- endif %}

),

{{ compacted_rows() }}

select
    {{ compacted_columns(plan.build_number | default(1)) | indent(4) }}
from compacted_rows
