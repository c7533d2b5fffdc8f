{# Plain days: days of a timeline on which the order of events decides nothing. One start before all else, updates or heartbeats that name no other
   resources, at most one stop after all else, no quantities. Each is one row of compacted_events. Sellers that send a start, a stop and little between
   have hardly any other days, and one aggregation is all that these need. docs/internals/decisions/0022-plain-days.md #}

{# Whether plain days are found. Not on Spark, which recomputes a CTE at each reference, and would make all of these at each step of
   compaction: there the events of all days go through the general rules, with the same result. #}
{% macro finds_plain_days() -%}
    {{ return(target.type == 'duckdb') }}
{%- endmacro %}

{# CTEs from a CTE `events`, as `compacted_rows` needs it: `timeline_days`, a row per timeline and day; `plain_days`, rows of
   compacted_events; `events_of_other_days`, the events that need an order. #}
{% macro plain_days() -%}
{%- if not finds_plain_days() -%}
events_of_other_days as (

    select
        {{ timeline_key('sandbox_id', 'execution_id') }} as timeline_key,
        events.*
    from events

)
{%- else -%}
events_with_names as not materialized (

    select
        events.*,
        cast(events.event_at as date) as event_date,
        -- A silence between heartbeats could end the session.
        events.event_kind = 'heartbeat' and build.heartbeat_timeout_seconds is not null as could_fall_silent,
        -- Which resources the event names: a bit for each.
        {% for resource in resource_columns() -%}
        {{ '+ ' if not loop.first }}case when events.{{ resource }} is not null then {{ 2 ** loop.index0 }} else 0 end
        {%- if not loop.last %}
        {% endif %}
        {%- endfor %} as named
    from events
    cross join {{ ref('stg_build_inputs') }} as build

),

-- Plain minima and maxima: one with a condition for each resource and kind takes twice as long. Grouped by texts: there are as many keys to
-- compute as days, not as events.
timeline_days as (

    select
        sandbox_id,
        execution_id,
        event_date,
        any_value(customer_id) as customer_id,
        min(event_at) as first_at,
        max(event_at) as last_at,
        min(case when event_kind <> 'start' then event_at end) as followed_at,
        max(case when event_kind <> 'stop' then event_at end) as heard_until,
        count(*) as event_count,
        sum(case when event_kind = 'start' then 1 else 0 end) as start_count,
        sum(case when event_kind = 'stop' then 1 else 0 end) as stop_count,
        sum(case when event_kind = 'update' then 1 else 0 end) as update_count,
        sum(case when event_kind = 'heartbeat' then 1 else 0 end) as heartbeat_count,
        max(case when could_fall_silent then 1 else 0 end) as could_fall_silent,
        max(case when event_kind = 'start' then named end) as named_by_start,
        max(case when event_kind in ('update', 'heartbeat') then named end) as named_by_updates,
        min(case when event_kind in ('update', 'heartbeat') then named end) as least_named_by_updates,
        max(case when event_kind = 'stop' then named end) as named_by_stop,
        {%- for resource in resource_columns() %}
        min({{ resource }}) as least_{{ resource }},
        max({{ resource }}) as {{ resource }},
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        max({{ quantity }}) as {{ quantity }},
        {%- endfor %}
        min(reported_start_at) as reported_start_at
    from events_with_names
    group by sandbox_id, execution_id, event_date

),

judged_days as not materialized (

    select
        *,
        {{ timeline_key('sandbox_id', 'execution_id') }} as timeline_key,
        start_count = 1
        and stop_count <= 1
        and start_count + stop_count + update_count + heartbeat_count = event_count
        -- One kind of event at every instant: the start before all others, the stop after all others.
        and coalesce(first_at < followed_at, true)
        and (stop_count = 0 or heard_until < last_at)
        and (update_count = 0 or heartbeat_count = 0)
        and could_fall_silent = 0
        -- Each update names the same resources, of those that the start names: of two at one instant none is superseded.
        and coalesce(named_by_updates = least_named_by_updates and named_by_updates & named_by_start = named_by_updates, true)
        {%- for resource in resource_columns() %}
        and coalesce(least_{{ resource }} = {{ resource }}, true)
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        and coalesce({{ quantity }}, 0) = 0
        {%- endfor %}
        and reported_start_at is null as is_plain
    from timeline_days

),

plain_days as not materialized (

    select
        event_date,
        timeline_key,
        sandbox_id,
        execution_id,
        customer_id,
        first_at,
        last_at,
        {%- for flag in event_flags().values() %}
        {{ {
            'has_start': 'true', 'has_stop': 'stop_count = 1', 'has_update': 'update_count > 0', 'has_heartbeat': 'heartbeat_count > 0'
        }.get(flag, 'false') }} as {{ flag }},
        {%- endfor %}
        cast(null as timestamp) as reported_start_at,
        event_count,
        stop_count,
        0 as pause_count,
        update_count + heartbeat_count as update_count,
        0 as quantity_event_count,
        0 as superseded_count,
        {%- for resource in resource_columns() %}
        case when named_by_start & {{ 2 ** loop.index0 }} > 0 then {{ resource }} end as {{ resource }},
        {%- endfor %}
        {%- for resource in resource_columns() %}
        case when named_by_stop & {{ 2 ** loop.index0 }} > 0 then {{ resource }} end as closing_{{ resource }},
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        cast(0 as decimal(38, 6)) as {{ quantity }},
        {%- endfor %}
        true as is_plain_day,
        case when update_count + heartbeat_count > 0 then followed_at end as updated_at,
        heard_until
    from judged_days
    where is_plain

),

events_of_other_days as not materialized (

    select
        days.timeline_key,
        {%- for column in [
            'event_id', 'sandbox_id', 'execution_id', 'customer_id', 'event_at', 'event_type', 'event_kind', 'reported_start_at', 'slice'
        ] + resource_columns() + quantity_columns() %}
        events.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from events
    inner join judged_days as days
        on
            events.sandbox_id = days.sandbox_id
            and events.execution_id = days.execution_id
            and cast(events.event_at as date) = days.event_date
            and not days.is_plain

)
{%- endif -%}
{%- endmacro %}

{# Compacted events (a relation with their columns) with each plain day as its start, its updates and its stop, for those who need an order: a
   row for each. The updates are one row, from the first to the last. #}
{% macro in_order(events) -%}
(
    select
        events.event_date,
        events.timeline_key,
        events.sandbox_id,
        events.execution_id,
        events.customer_id,
        case parts.part when 'updates' then events.updated_at when 'stop' then events.last_at else events.first_at end as first_at,
        case parts.part when 'start' then events.first_at when 'updates' then events.heard_until else events.last_at end as last_at,
        {%- for flag, part in {
            'has_start': 'start', 'has_stop': 'stop', 'has_update': 'updates', 'has_heartbeat': 'updates'
        }.items() %}
        events.{{ flag }} and parts.part in ('all', '{{ part }}') as {{ flag }},
        {%- endfor %}
        events.has_pause,
        events.has_resume,
        events.has_quantity_update,
        events.reported_start_at,
        case
            parts.part when 'all' then events.event_count when 'updates' then events.update_count else 1
        end as event_count,
        {%- for count, part in {'stop_count': 'stop', 'update_count': 'updates'}.items() %}
        case when parts.part in ('all', '{{ part }}') then events.{{ count }} else 0 end as {{ count }},
        {%- endfor %}
        events.pause_count,
        events.quantity_event_count,
        events.superseded_count,
        {%- for resource in resource_columns() %}
        case when parts.part <> 'stop' then events.{{ resource }} end as {{ resource }},
        {%- endfor %}
        {%- for resource in closing_resource_columns() %}
        case when parts.part in ('all', 'stop') then events.{{ resource }} end as {{ resource }},
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        events.{{ quantity }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ events }} as events
    inner join (
        select
            'all' as part,
            false as is_plain_day
        union all
        select
            'start' as part,
            true as is_plain_day
        union all
        select
            'updates' as part,
            true as is_plain_day
        union all
        select
            'stop' as part,
            true as is_plain_day
    ) as parts
        on events.is_plain_day = parts.is_plain_day
    where
        (parts.part <> 'updates' or events.update_count > 0)
        and (parts.part <> 'stop' or events.has_stop)
)
{%- endmacro %}
