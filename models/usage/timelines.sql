-- Billing rules, section 4: the timelines (sandbox and execution) that this build recomputes. A timeline is plain where the order of its events
-- decides nothing: one start before all others, updates that name nothing new, at most one stop after all others, no pause, and no heartbeat
-- timeout that could end its session earlier. Its session runs from the start to the stop with constant resources. The events of all other
-- timelines go through `sandbox_states`.
with

events as (

    select
        events.*,
        build.heartbeat_timeout_seconds
    from {{ ref('dirty_events') }} as events
    cross join {{ ref('stg_build_inputs') }} as build
    where {{ changes_state('events') }} or events.has_quantity_update

),

timelines_of_several_rows as (

    select timeline_key
    from events
    group by timeline_key
    having count(*) > 1

),

-- Most timelines are one plain day and need no sum.
events_with_others as (

    select
        events.*,
        events.is_plain_day and several.timeline_key is null as is_alone
    from events
    left join timelines_of_several_rows as several on events.timeline_key = several.timeline_key

)

select
    timeline_key,
    sandbox_id,
    execution_id,
    customer_id,
    first_at,
    heard_until,
    case when has_stop then last_at end as stopped_at,
    cast(event_count as bigint) as event_count,
    {%- for resource in resource_columns() %}
    coalesce({{ resource }}, closing_{{ resource }}) as {{ resource }},
    {%- endfor %}
    true as is_plain
from events_with_others
where is_alone

union all

select
    timeline_key,
    any_value(sandbox_id) as sandbox_id,
    any_value(execution_id) as execution_id,
    any_value(customer_id) as customer_id,
    min(first_at) as first_at,
    max(case when is_plain_day then heard_until when not has_stop then last_at end) as heard_until,
    min(case when has_stop then last_at end) as stopped_at,
    cast(sum(event_count - quantity_event_count) as bigint) as event_count,
    {%- for resource in resource_columns() %}
    coalesce(min({{ resource }}), min(closing_{{ resource }})) as {{ resource }},
    {%- endfor %}
    (max(heartbeat_timeout_seconds) is null or max(case when has_heartbeat then 1 else 0 end) = 0)
    and max(case when has_pause or has_resume then 1 else 0 end) = 0
    -- One kind of event at every instant; no update with quantities alone, which could extend a session.
    and sum(
        case
            when is_plain_day then 1
            else
                case when has_start then 1 else 0 end
                + case when has_stop then 1 else 0 end
                + case when has_update then 1 else 0 end
                + case when has_heartbeat then 1 else 0 end
        end
    ) = count(*)
    and sum(superseded_count) = 0
    and sum(case when has_start then 1 else 0 end) = 1
    and min(case when has_start then first_at end) = min(first_at)
    and sum(case when has_stop then 1 else 0 end) <= 1
    and coalesce(min(case when has_stop then last_at end) = max(last_at), true)
    {%- for resource in resource_columns() %}
    and (
        max({{ resource }}) is null
        or coalesce(min({{ resource }}) = max({{ resource }}) and max(case when has_start then {{ resource }} end) is not null, false)
    )
    {%- endfor %} as is_plain
from events_with_others
where not is_alone
group by timeline_key
