{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_executions() }}"
) }}
-- depends_on: {{ ref('mixed_sandboxes') }}
-- Billing rules, section 4: accepted events that have no effect on a session, each with its reason. A quantity on an ignored event is
-- billed all the same (section 3), unless the event is voided.
{% set assigns_events = has_mixed_sandboxes() %}
with

instants_with_ignored_events as (

    select
        timeline_key,
        event_at,
        last_at,
        has_start or has_resume as has_opening,
        is_running_before,
        is_running_after
    from {{ ref('sandbox_states') }}
    where ignored_event_count > 0

),

events_of_days as (

    select
        raw_events.event_id,
        raw_events.sandbox_id,
        raw_events.execution_id,
        raw_events.customer_id,
        raw_events.event_at,
        raw_events.event_type,
        {{ event_kind('raw_events') }} as event_kind,
        {%- for column in resource_columns() + quantity_columns() %}
        raw_events.{{ column }},
        {%- endfor %}
        raw_events.file_id,
        raw_events.file_row
    from {{ events_of_ignored_days() }} as raw_events
    left join {{ ref('event_voids') }} as voids
        on
            raw_events.event_id = voids.event_id
            and voids.voided_at <= (select as_of from {{ ref('stg_build_inputs') }})
    where voids.event_id is null

),

{% if assigns_events %}
events_of_mixed_sandboxes as (

    select *
    from events_of_days
    where sandbox_id in (select sandbox_id from {{ ref('mixed_sandboxes') }})

),

events_of_timelines as (

    select
        events.*,
        {{ timeline_key('events.sandbox_id', 'coalesce(assigned.execution_id, events.execution_id)') }} as timeline_key,
        coalesce({{ has_no_execution('events', 'assigned') }} and mixed.sandbox_id is not null, false) as has_no_execution
    from events_of_days as events
    left join {{ ref('mixed_sandboxes') }} as mixed on events.sandbox_id = mixed.sandbox_id
    left join {{ executions_of('events_of_mixed_sandboxes') | indent(4) }} as assigned on events.event_id = assigned.event_id

),

{% else %}
events_of_timelines as (

    select
        *,
        {{ timeline_key('sandbox_id', 'execution_id') }} as timeline_key,
        false as has_no_execution
    from events_of_days

),

{% endif %}
events_without_execution as (

    select events.*
    from events_of_timelines as events
    {{ only_dirty_executions('events') }}
    cross join {{ ref('stg_build_inputs') }} as build
    where
        events.has_no_execution
        and events.event_at <= build.as_of
        and events.event_at >= build.books_open_at

),

events_at_those_instants as (

    select
        events.*,
        states.has_opening,
        states.is_running_before,
        states.is_running_after
    from events_of_timelines as events
    inner join instants_with_ignored_events as states
        on
            events.timeline_key = states.timeline_key
            and events.event_at >= states.event_at
            and events.event_at <= states.last_at
    where not events.has_no_execution

),

events_with_deciding_resources as (

    select
        *,
        {%- for resource in resource_columns() %}
        first_value({{ resource }}) over of_a_kind as deciding_{{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from events_at_those_instants
    window of_a_kind as (partition by timeline_key, event_at, event_kind order by event_id desc)

),

events_with_reason as (

    select
        *,
        case
            when event_kind = 'stop' and not has_opening and not is_running_before then 'stop_without_start'
            when event_kind = 'pause' and not is_running_after then 'pause_without_start'
            when event_kind in ('update', 'heartbeat') and not has_opening and not is_running_after then 'update_after_stop'
            when {{ is_superseded() }} then 'superseded'
        end as reason
    from events_with_deciding_resources

),

ignored_events as (

    select
        timeline_key,
        event_id,
        sandbox_id,
        execution_id,
        customer_id,
        event_at,
        event_type,
        reason,
        {%- for column in resource_columns() + quantity_columns() %}
        {{ column }},
        {%- endfor %}
        file_id,
        file_row
    from events_with_reason
    where reason is not null

    union all

    select
        timeline_key,
        event_id,
        sandbox_id,
        execution_id,
        customer_id,
        event_at,
        event_type,
        'no_execution' as reason,
        {%- for column in resource_columns() + quantity_columns() %}
        {{ column }},
        {%- endfor %}
        file_id,
        file_row
    from events_without_execution

),

voided_events as (

    select
        voids.timeline_key,
        voids.event_id,
        voids.sandbox_id,
        voids.execution_id,
        voids.customer_id,
        voids.event_at,
        voids.event_type,
        {%- for column in resource_columns() + quantity_columns() %}
        voids.{{ column }},
        {%- endfor %}
        voids.file_id,
        voids.file_row,
        voids.voided_at,
        voids.reason as void_reason
    from {{ ref('event_voids') }} as voids
    {{ only_dirty_executions('voids') }}
    cross join {{ ref('stg_build_inputs') }} as build
    where
        voids.sandbox_id is not null
        and voids.voided_at <= build.as_of
        and voids.event_at <= build.as_of
        and voids.event_at >= build.books_open_at

)

select
    timeline_key,
    event_id,
    sandbox_id,
    execution_id,
    customer_id,
    event_at,
    event_type,
    reason,
    {%- for column in resource_columns() + quantity_columns() %}
    {{ column }},
    {%- endfor %}
    {% for quantity in quantity_columns() %}coalesce({{ quantity }} > 0, false){{ ' or ' if not loop.last }}{% endfor %} as is_quantity_billed,
    cast(null as timestamp) as voided_at,
    cast(null as string) as void_reason,
    file_id,
    file_row
from ignored_events

union all

select
    timeline_key,
    event_id,
    sandbox_id,
    execution_id,
    customer_id,
    event_at,
    event_type,
    'voided' as reason,
    {%- for column in resource_columns() + quantity_columns() %}
    {{ column }},
    {%- endfor %}
    false as is_quantity_billed,
    voided_at,
    void_reason,
    file_id,
    file_row
from voided_events
