{# Compaction: the queries that turn the events of timelines into rows of compacted_events. Billing rules, section 4.

   Requires a CTE `events` with event_id, sandbox_id, execution_id, customer_id, event_at, event_type, event_kind,
   reported_start_at, the resources and quantities, and slice (`event_slice`). Gives a CTE `compacted_rows`. #}
{% macro compacted_rows() -%}
{#- Storing these CTEs is slower than reading them again, and costs memory. -#}
{%- set not_stored = 'not materialized ' if target.type == 'duckdb' else '' -%}
{#- Spark recomputes a CTE at each reference: there one more sort is cheaper than finding the days that need it. -#}
{%- set compacts_some_days = target.type == 'duckdb' -%}
{%- set dedup_columns = ['timeline_key', 'event_kind'] + resource_columns() -%}
{%- set flags = event_flags().values() | list -%}
{%- set closing_columns = closing_resource_columns() -%}
{%- set texts = ['sandbox_id', 'execution_id', 'customer_id'] -%}
{{ plain_days() }},

sandbox_events as {{ not_stored }}(

    select * from events_of_other_days
    where event_type <> 'usage_recorded'

),

-- Billing rules, section 3: usage_recorded carries quantities alone and has no effect on a session.
recorded_usage as (

    select
        timeline_key,
        {%- for column in texts %}
        any_value({{ column }}) as {{ column }},
        {%- endfor %}
        event_at as first_at,
        event_at as last_at,
        {%- for flag in flags %}
        false as {{ flag }},
        {%- endfor %}
        cast(null as timestamp) as reported_start_at,
        count(*) as event_count,
        0 as stop_count,
        0 as pause_count,
        0 as update_count,
        count(*) as quantity_event_count,
        0 as superseded_count,
        {%- for resource in resource_columns() + closing_columns %}
        cast(null as decimal(18, 6)) as {{ resource }},
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        cast(sum(coalesce({{ quantity }}, 0)) as decimal(38, 6)) as {{ quantity }}{{ ',' if not loop.last }}
        {%- endfor %}
    from events_of_other_days
    where event_type = 'usage_recorded'
    group by timeline_key, event_at

),

-- Grouping before sorting: heartbeats once a second become one row a minute before any window function.
slice_groups as (

    select
        {{ dedup_columns | join(',\n        ') }},
        slice,
        {%- for column in texts %}
        any_value({{ column }}) as {{ column }},
        {%- endfor %}
        min(event_at) as first_at,
        max(event_at) as last_at,
        min(reported_start_at) as reported_start_at,
        count(*) as event_count,
        {%- for quantity in quantity_columns() %}
        cast(sum(coalesce({{ quantity }}, 0)) as decimal(38, 6)) as {{ quantity }}{{ ',' if not loop.last }}
        {%- endfor %}
    from sandbox_events
    group by {{ dedup_columns | join(', ') }}, slice

),

-- Most slices have one group and need no window function.
slices_with_several_groups as (

    select
        timeline_key,
        slice
    from slice_groups
    group by timeline_key, slice
    having count(*) > 1

),

groups_in_order as (

    select
        slice_groups.timeline_key,
        slice_groups.slice,
        slice_groups.first_at,
        max(slice_groups.last_at) over earlier as previous_last_at
    from slice_groups
    inner join slices_with_several_groups as several
        on
            slice_groups.timeline_key = several.timeline_key
            and slice_groups.slice = several.slice
    window earlier as (
        partition by slice_groups.timeline_key, slice_groups.slice
        order by slice_groups.first_at, slice_groups.last_at
        rows between unbounded preceding and 1 preceding
    )

),

-- Slices whose groups overlap, or have events that count one by one (starts, stops and such, quantities): their events are not grouped.
overlapping_slices as (

    select
        timeline_key,
        slice
    from groups_in_order
    where previous_last_at >= first_at

    union

    select
        timeline_key,
        slice
    from slice_groups
    where
        event_count > 1
        and (
            event_kind not in ('update', 'heartbeat', 'no_execution')
            {%- for quantity in quantity_columns() %}
            or {{ quantity }} > 0
            {%- endfor %}
        )

),

grouped_rows as (

    select
        slice_groups.timeline_key,
        {%- for column in texts %}
        slice_groups.{{ column }},
        {%- endfor %}
        slice_groups.first_at,
        slice_groups.last_at,
        {%- for kind, flag in event_flags().items() %}
        slice_groups.event_kind = '{{ kind }}' as {{ flag }},
        {%- endfor %}
        slice_groups.reported_start_at,
        slice_groups.event_count,
        case when slice_groups.event_kind = 'stop' then slice_groups.event_count else 0 end as stop_count,
        case when slice_groups.event_kind = 'pause' then slice_groups.event_count else 0 end as pause_count,
        case when slice_groups.event_kind in ('update', 'heartbeat') then slice_groups.event_count else 0 end as update_count,
        case when slice_groups.event_kind = 'quantities' then slice_groups.event_count else 0 end as quantity_event_count,
        0 as superseded_count,
        {%- for resource in resource_columns() %}
        case when slice_groups.event_kind not in ('stop', 'pause') then slice_groups.{{ resource }} end as {{ resource }},
        {%- endfor %}
        {%- for resource in resource_columns() %}
        case when slice_groups.event_kind in ('stop', 'pause') then slice_groups.{{ resource }} end as closing_{{ resource }},
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        slice_groups.{{ quantity }}{{ ',' if not loop.last }}
        {%- endfor %}
    from slice_groups
    left join overlapping_slices
        on
            slice_groups.timeline_key = overlapping_slices.timeline_key
            and slice_groups.slice = overlapping_slices.slice
    where overlapping_slices.slice is null

),

ungrouped_events as (

    select
        sandbox_events.*,
        {%- for resource in resource_columns() %}
        first_value(sandbox_events.{{ resource }}) over of_a_kind as deciding_{{ resource }},
        {%- endfor %}
        row_number() over of_a_kind as rank_of_kind
    from sandbox_events
    inner join overlapping_slices
        on
            sandbox_events.timeline_key = overlapping_slices.timeline_key
            and sandbox_events.slice = overlapping_slices.slice
    window of_a_kind as (
        partition by
            sandbox_events.timeline_key, sandbox_events.event_at, sandbox_events.event_kind
        order by sandbox_events.event_id desc
    )

),

-- Billing rules, section 4: events of one instant act together; of several of a kind the one with the highest event_id counts.
instant_rows as (

    select
        timeline_key,
        {%- for column in texts %}
        any_value({{ column }}) as {{ column }},
        {%- endfor %}
        event_at as first_at,
        event_at as last_at,
        {%- for kind, flag in event_flags().items() %}
        max(case when event_kind = '{{ kind }}' then 1 else 0 end) = 1 as {{ flag }},
        {%- endfor %}
        min(reported_start_at) as reported_start_at,
        count(*) as event_count,
        sum(case when event_kind = 'stop' then 1 else 0 end) as stop_count,
        sum(case when event_kind = 'pause' then 1 else 0 end) as pause_count,
        sum(case when event_kind in ('update', 'heartbeat') then 1 else 0 end) as update_count,
        sum(case when event_kind = 'quantities' then 1 else 0 end) as quantity_event_count,
        -- An event that names other resources than the deciding event of its kind has no effect.
        sum(
            case
                when {{ is_superseded() }} then 1
                else 0
            end
        ) as superseded_count,
        -- Resources are the update's, else the heartbeat's, the resume's, the start's; null where none names one.
        {%- for resource in resource_columns() %}
        coalesce(
            {%- for kind in naming_kinds() %}
            max(case when rank_of_kind = 1 and event_kind = '{{ kind }}' then {{ resource }} end){{ ',' if not loop.last }}
            {%- endfor %}
        ) as {{ resource }},
        {%- endfor %}
        {%- for resource in resource_columns() %}
        coalesce(
            max(case when rank_of_kind = 1 and event_kind = 'stop' then {{ resource }} end),
            max(case when rank_of_kind = 1 and event_kind = 'pause' then {{ resource }} end)
        ) as closing_{{ resource }},
        {%- endfor %}
        -- Billing rules, section 3: the quantities of all events of an instant count.
        {%- for quantity in quantity_columns() %}
        cast(sum(coalesce({{ quantity }}, 0)) as decimal(38, 6)) as {{ quantity }}{{ ',' if not loop.last }}
        {%- endfor %}
    from ungrouped_events
    group by timeline_key, event_at

),

event_rows as (

    select * from grouped_rows
    union all
    select * from instant_rows

),

dated_rows as (

    select
        event_rows.*,
        cast(event_rows.first_at as date) as event_date,
        -- Rows of one kind: a heartbeat begins what an update does not (the heartbeat timeout).
        event_rows.has_update <> event_rows.has_heartbeat
        {%- for flag in flags if flag not in ('has_update', 'has_heartbeat') %} and not event_rows.{{ flag }}{% endfor %}
        {%- for quantity in quantity_columns() %} and event_rows.{{ quantity }} = 0{% endfor %} as is_heartbeat,
        build.heartbeat_timeout_seconds
    from event_rows
    cross join {{ ref('stg_build_inputs') }} as build

),

{% if compacts_some_days %}
-- Days with fewer than two heartbeats have nothing to compact.
days_to_compact as (

    select
        timeline_key,
        event_date
    from dated_rows
    where is_heartbeat
    group by timeline_key, event_date
    having count(*) > 1

),

{% endif %}
rows_with_previous as (

    select
        dated_rows.*,
        coalesce(
            lag(dated_rows.is_heartbeat) over in_time and lag(dated_rows.has_heartbeat) over in_time = dated_rows.has_heartbeat, false
        ) as previous_is_heartbeat,
        lag(dated_rows.last_at) over in_time as previous_last_at,
        {%- for resource in resource_columns() %}
        lag(dated_rows.{{ resource }}) over in_time as previous_{{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from dated_rows
    {% if compacts_some_days %}
    inner join days_to_compact
        on
            dated_rows.timeline_key = days_to_compact.timeline_key
            and dated_rows.event_date = days_to_compact.event_date
    {% endif %}
    window in_time as (
        partition by dated_rows.timeline_key, dated_rows.event_date order by dated_rows.first_at
    )

),

numbered_rows as (

    select
        *,
        sum(
            case
                when
                    is_heartbeat
                    and previous_is_heartbeat
                    {%- for resource in resource_columns() %}
                    and {{ resource }} is not distinct from previous_{{ resource }}
                    {%- endfor %}
                    and coalesce(
                        {{ microseconds_between('previous_last_at', 'first_at') }} <= heartbeat_timeout_seconds * 1000000, true
                    )
                    then 0
                else 1
            end
        ) over (
            partition by timeline_key, event_date order by first_at
            rows between unbounded preceding and current row
        ) as compacted_row_number
    from rows_with_previous

),

rows_of_other_days as (

    select
        event_date,
        timeline_key,
        {%- for column in texts %}
        any_value({{ column }}) as {{ column }},
        {%- endfor %}
        min(first_at) as first_at,
        max(last_at) as last_at,
        {%- for flag in flags %}
        max(case when {{ flag }} then 1 else 0 end) = 1 as {{ flag }},
        {%- endfor %}
        min(reported_start_at) as reported_start_at,
        {%- for count in event_counts() %}
        sum({{ count }}) as {{ count }},
        {%- endfor %}
        {%- for resource in resource_columns() + closing_columns %}
        max({{ resource }}) as {{ resource }},
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        cast(sum({{ quantity }}) as decimal(38, 6)) as {{ quantity }}{{ ',' if not loop.last }}
        {%- endfor %}
    from numbered_rows
    group by event_date, timeline_key, compacted_row_number

    {% if compacts_some_days %}
    union all

    select
        dated_rows.event_date,
        dated_rows.timeline_key,
        {%- for column in texts %}
        dated_rows.{{ column }},
        {%- endfor %}
        dated_rows.first_at,
        dated_rows.last_at,
        {%- for flag in flags %}
        dated_rows.{{ flag }},
        {%- endfor %}
        dated_rows.reported_start_at,
        {%- for count in event_counts() %}
        dated_rows.{{ count }},
        {%- endfor %}
        {%- for column in resource_columns() + closing_columns + quantity_columns() %}
        dated_rows.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from dated_rows
    left join days_to_compact
        on
            dated_rows.timeline_key = days_to_compact.timeline_key
            and dated_rows.event_date = days_to_compact.event_date
    where days_to_compact.event_date is null
    {% endif %}

    union all

    select
        cast(first_at as date) as event_date,
        timeline_key,
        {%- for column in texts %}
        {{ column }},
        {%- endfor %}
        first_at,
        last_at,
        {%- for flag in flags %}
        {{ flag }},
        {%- endfor %}
        reported_start_at,
        {%- for count in event_counts() %}
        {{ count }},
        {%- endfor %}
        {%- for column in resource_columns() + closing_columns + quantity_columns() %}
        {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from recorded_usage

),

compacted_rows as (

    select
        *,
        false as is_plain_day,
        cast(null as timestamp) as updated_at,
        cast(null as timestamp) as heard_until
    from rows_of_other_days
    {%- if finds_plain_days() %}

    union all

    select * from plain_days
    {%- endif %}

)
{%- endmacro %}

{# The columns of compacted_events, from a relation `events` where several have them. `build_number`: of the build that computes them; without
   one the column is left out. #}
{% macro compacted_columns(build_number=none, events=none) -%}
{%- set of = events ~ '.' if events else '' -%}
{{ of }}event_date,
{{ of }}timeline_key,
{{ of }}sandbox_id,
{{ of }}execution_id,
{%- if build_number is not none %}
cast({{ build_number }} as bigint) as build_number,
{%- endif %}
{{ of }}customer_id,
{{ of }}first_at,
{{ of }}last_at,
{%- for flag in event_flags().values() %}
{{ of }}{{ flag }},
{%- endfor %}
{{ of }}reported_start_at,
{{ of }}is_plain_day,
{{ of }}updated_at,
{{ of }}heard_until,
{%- for count in event_counts() %}
cast({{ of }}{{ count }} as integer) as {{ count }},
{%- endfor %}
{%- for column in resource_columns() + closing_resource_columns() + quantity_columns() %}
{{ of }}{{ column }}{{ ',' if not loop.last }}
{%- endfor %}
{%- endmacro %}

{# The slice of an instant, by which updates are grouped before they are sorted: not longer than the heartbeat timeout, so that it contains no
   silence, and not across midnight. #}
{% macro event_slice(event_at, build) -%}
{{ time_slice(event_at, 'case when ' ~ build ~ '.heartbeat_timeout_seconds < 60 then 1 else 60 end') }}
{%- endmacro %}
