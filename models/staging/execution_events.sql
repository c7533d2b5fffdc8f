-- Billing rules, section 4: compacted_events with each event under the execution that it belongs to. Most deployments have no assigned events.
with

assigned_days as (

    select distinct
        sandbox_id,
        event_date
    from {{ ref('assigned_events') }}

)

select
    {{ compacted_columns(events='events') | indent(4) }}
from {{ ref('compacted_events') }} as events
left join assigned_days
    on
        events.sandbox_id = assigned_days.sandbox_id
        and events.event_date = assigned_days.event_date
where assigned_days.sandbox_id is null

union all

select
    {{ compacted_columns(events='assigned') | indent(4) }}
from {{ ref('assigned_events') }} as assigned
