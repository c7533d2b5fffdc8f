{{ config(
    materialized='kept' if target.type == 'duckdb' else 'table',
    pre_hook="{{ forget_changed_timelines() }}"
) }}
-- Billing rules, section 4: accepted events without effect on a session, each with its reason and what it carried. A quantity is billed
-- whether or not its event has an effect on a session, unless the event is voided.
with

instants as (

    select
        sandbox_id,
        execution_id,
        event_at,
        last_at,
        has_start,
        is_running_before,
        is_running_after
    from {{ ref('sandbox_states') }}
    where ignored_event_count > 0

),

events as (

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
        raw_events.file_row,
        instants.has_start,
        instants.is_running_before,
        instants.is_running_after
    from {{ events_of_ignored_days() }} as raw_events
    inner join instants
        on
            raw_events.sandbox_id = instants.sandbox_id
            and raw_events.execution_id = instants.execution_id
            and raw_events.event_at >= instants.event_at
            and raw_events.event_at <= instants.last_at
    left join {{ ref('event_voids') }} as voids
        on
            raw_events.event_id = voids.event_id
            and voids.voided_at <= (select as_of from {{ ref('stg_build_inputs') }})
    where voids.event_id is null

),

with_deciding_event as (

    select
        *,
        {%- for resource in resource_columns() %}
        first_value({{ resource }}) over of_a_kind as deciding_{{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from events
    window of_a_kind as (partition by sandbox_id, execution_id, event_at, event_kind order by event_id desc)

),

without_effect as (

    select
        *,
        case
            when event_kind = 'sandbox_stopped' and not has_start and not is_running_before then 'stop_without_start'
            when event_kind = 'resources_updated' and not has_start and not is_running_after then 'update_after_stop'
            when {{ is_superseded() }} then 'superseded'
        end as reason
    from with_deciding_event

),

voided as (

    select
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
    {{ of_changed_timelines('voids') }}
    cross join {{ ref('stg_build_inputs') }} as build
    where
        voids.sandbox_id is not null
        and voids.voided_at <= build.as_of
        and voids.event_at <= build.as_of
        and voids.event_at >= build.books_open_at

)

select
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
    -- A quantity that it carries is billed all the same.
    {% for quantity in quantity_columns() %}coalesce({{ quantity }} > 0, false){{ ' or ' if not loop.last }}{% endfor %} as is_quantity_billed,
    cast(null as timestamp) as voided_at,
    cast(null as string) as void_reason,
    file_id,
    file_row
from without_effect
where reason is not null

union all

select
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
from voided
