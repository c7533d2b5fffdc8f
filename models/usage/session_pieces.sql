-- Billing rules, section 4: the resources that a session held, and when. Events that change no resource make no piece; a plain session is one
-- piece.
with

-- Billing rules, section 4: what the opening does not name is in opening_<resource>; a later event leaves it unchanged (null here).
named_resources as (

    select
        sessions.session_key,
        sessions.timeline_key,
        sessions.customer_id,
        sessions.ended_at as session_ended_at,
        states.event_at,
        states.is_paused_after,
        {%- for resource in resource_columns() %}
        case
            when states.opens_a_session then sessions.opening_{{ resource }}
            else states.{{ resource }}
        end as named_{{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('sandbox_states') }} as states
    inner join {{ ref('sandbox_sessions') }} as sessions
        on
            states.timeline_key = sessions.timeline_key
            and states.session_number = sessions.session_number
    where
        states.is_running_after
        and {{ may_touch_dirty_days('sessions.started_at', 'sessions.ended_at') }}

),

-- While it is paused, a session holds its storage only.
resources_in_force as (

    select
        session_key,
        timeline_key,
        customer_id,
        session_ended_at,
        event_at,
        {%- for resource in resource_columns() %}
        {{ 'case when is_paused_after then cast(0 as decimal(18, 6)) else ' if resource not in resources_held_while_paused() }}
        {{ last_known('named_' ~ resource) }} over (
            partition by session_key order by event_at rows between unbounded preceding and current row
        ) {{ 'end ' if resource not in resources_held_while_paused() }}as {{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from named_resources

),

resources_with_previous as (

    select
        *,
        {%- for resource in resource_columns() %}
        lag({{ resource }}) over (partition by session_key order by event_at) as previous_{{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from resources_in_force

),

resource_changes as (

    select *
    from resources_with_previous
    where
        {%- for resource in resource_columns() %}
        {{ 'or ' if not loop.first }}previous_{{ resource }} is null
        or {{ resource }} <> previous_{{ resource }}
        {%- endfor %}

),

pieces as (

    select
        session_key,
        timeline_key,
        customer_id,
        event_at as started_at,
        coalesce(lead(event_at) over (partition by session_key order by event_at), session_ended_at) as ended_at,
        false as is_whole_session,
        {%- for resource in resource_columns() %}
        {{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from resource_changes

),

plain_sessions as (

    select
        sessions.session_key,
        sessions.timeline_key,
        sessions.customer_id,
        sessions.started_at,
        sessions.ended_at,
        true as is_whole_session,
        {%- for resource in resource_columns() %}
        sessions.opening_{{ resource }} as {{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('sandbox_sessions') }} as sessions
    {{ only_dirty_executions('sessions') }}
    where
        sessions.is_plain
        and {{ may_touch_dirty_days('sessions.started_at', 'sessions.ended_at') }}

),

all_pieces as (

    select * from pieces
    union all
    select * from plain_sessions

)

select
    session_key,
    timeline_key,
    customer_id,
    started_at,
    ended_at,
    is_whole_session,
    {%- for resource in resource_columns() %}
    {{ resource }}{{ ',' if not loop.last }}
    {%- endfor %}
from all_pieces
where started_at < ended_at
