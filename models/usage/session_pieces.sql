-- Billing rules, section 4: what a session held, from when until when. Events that change nothing make no piece.
with

-- A value that the opening of a session does not name is the plan's default sandbox's; one that a later update does not name
-- stays what it was.
effective_instants as (

    select
        sessions.session_id,
        sessions.sandbox_id,
        sessions.execution_id,
        sessions.customer_id,
        sessions.ended_at as session_ended_at,
        instants.event_at,
        {%- for resource in resource_columns() %}
        case
            when instants.{{ resource }} is not null then instants.{{ resource }}
            when instants.opens_a_session then sessions.default_{{ resource }}
        end as named_{{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ ref('sandbox_states') }} as instants
    inner join {{ ref('sandbox_sessions') }} as sessions
        on
            instants.sandbox_id = sessions.sandbox_id
            and instants.execution_id = sessions.execution_id
            and instants.session_number = sessions.session_number
    where
        instants.is_running_after
        and {{ may_touch_changed_days('sessions.started_at', 'sessions.ended_at') }}

),

resources_in_force as (

    select
        session_id,
        sandbox_id,
        execution_id,
        customer_id,
        session_ended_at,
        event_at,
        {%- for resource in resource_columns() %}
        {{ last_known('named_' ~ resource) }} over (
            partition by session_id order by event_at rows between unbounded preceding and current row
        ) as {{ resource }},
        {{ last_known('named_' ~ resource) }} over (
            partition by session_id order by event_at rows between unbounded preceding and 1 preceding
        ) as previous_{{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from effective_instants

),

changes as (

    select *
    from resources_in_force
    where
        {%- for resource in resource_columns() %}
        {{ 'or ' if not loop.first }}previous_{{ resource }} is null
        or {{ resource }} <> previous_{{ resource }}
        {%- endfor %}

),

pieces as (

    select
        session_id,
        sandbox_id,
        execution_id,
        customer_id,
        event_at as started_at,
        coalesce(lead(event_at) over (partition by session_id order by event_at), session_ended_at) as ended_at,
        {%- for resource in resource_columns() %}
        {{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from changes

)

select
    session_id,
    sandbox_id,
    execution_id,
    customer_id,
    started_at,
    ended_at,
    {%- for resource in resource_columns() %}
    {{ resource }}{{ ',' if not loop.last }}
    {%- endfor %}
from pieces
where started_at < ended_at
