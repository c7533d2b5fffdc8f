{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    full_refresh_when='assignment_needs_full_refresh',
    pre_hook='{{ delete_changed_assignments() }}',
    post_hook='{{ record_assignments() }}'
) }}
-- depends_on: {{ ref('stg_usage_events') }}
-- depends_on: {{ ref('stg_landed_files') }}
-- Billing rules, section 4: the compacted events of mixed sandboxes on days with events that name no execution, each under the execution that it
-- belongs to. Compacted again from the raw events, since a row of compacted_events may have events of several executions.
{% set plan = assignment_plan() %}
with

days_to_assign as (

    select distinct
        sandbox_id,
        event_date
    from {{ ref('compacted_events') }}
    where
        execution_id = ''
        and sandbox_id in (select sandbox_id from {{ ref('mixed_sandboxes') }})
        {%- if not plan.is_full %}
        and {{ has_changed_events() | indent(8) }}
        {%- endif %}

),

raw_events as (

    {% if plan.reads_all %}
    select * from {{ ref('stg_usage_events') }}
    {% else %}
    select
        {{ usage_event_columns() | indent(8) }}
    from {{ usage_events_in(plan.files) }}
    {% endif %}

),

events_as_sent as (

    select
        raw_events.event_id,
        raw_events.sandbox_id,
        raw_events.execution_id,
        raw_events.customer_id,
        raw_events.event_at,
        raw_events.event_type,
        {{ event_kind('raw_events') }} as event_kind,
        raw_events.reported_start_at,
        {%- for column in resource_columns() + quantity_columns() %}
        raw_events.{{ column }},
        {%- endfor %}
        {{ event_slice('raw_events.event_at', 'build') }} as slice
    from raw_events
    cross join {{ ref('stg_build_inputs') }} as build
    inner join days_to_assign
        on
            raw_events.sandbox_id = days_to_assign.sandbox_id
            and cast(raw_events.event_at as date) = days_to_assign.event_date
    left join {{ ref('event_voids') }} as voids
        on
            raw_events.event_id = voids.event_id
            and voids.voided_at <= build.as_of
    where
        raw_events.event_at <= build.as_of
        and raw_events.event_at >= build.books_open_at
        and voids.event_id is null

),

events_with_execution as (

    select
        events.*,
        coalesce(assigned.execution_id, events.execution_id) as assigned_execution_id,
        {{ has_no_execution('events', 'assigned') }} as has_no_execution,
        events.execution_id = '' and assigned.execution_id is null and events.event_kind = 'quantities' as has_quantities_alone
    from events_as_sent as events
    left join {{ executions_of('events_as_sent') | indent(4) }} as assigned
        on events.event_id = assigned.event_id

),

events as (

    select
        event_id,
        sandbox_id,
        assigned_execution_id as execution_id,
        customer_id,
        event_at,
        -- Without an execution, quantities alone are billed and confirm nothing, as those of usage_recorded.
        case when has_quantities_alone then 'usage_recorded' else event_type end as event_type,
        case when has_no_execution then 'no_execution' else event_kind end as event_kind,
        case when not has_no_execution then reported_start_at end as reported_start_at,
        {%- for column in resource_columns() + quantity_columns() %}
        {{ column }},
        {%- endfor %}
        slice
    from events_with_execution

),

{{ compacted_rows() }}

select
    {{ compacted_columns() | indent(4) }}
from compacted_rows
