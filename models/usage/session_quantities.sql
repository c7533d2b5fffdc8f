-- Billing rules, section 4: quantities that a session's events carried (tokens), at the instants that carried them. What is ignored
-- (a lone stop, an update after a stop) belongs to no session, and is not billed.
select
    sessions.session_id,
    sessions.sandbox_id,
    sessions.execution_id,
    sessions.customer_id,
    instants.event_at,
    cast(instants.event_at as date) as usage_date,
    {{ billing_period('instants.event_at') }} as period,
    {%- for quantity in quantity_columns() %}
    instants.{{ quantity }}{{ ',' if not loop.last }}
    {%- endfor %}
from {{ ref('sandbox_states') }} as instants
inner join {{ ref('sandbox_sessions') }} as sessions
    on
        instants.sandbox_id = sessions.sandbox_id
        and instants.execution_id = sessions.execution_id
        and instants.session_number = sessions.session_number
where
    {{ may_touch_changed_days('sessions.started_at', 'sessions.ended_at') }}
    and (instants.is_running_before or instants.opens_a_session)
    and (
        {%- for quantity in quantity_columns() %}
        {{ 'or ' if not loop.first }}instants.{{ quantity }} > 0
        {%- endfor %}
    )
