{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_executions() }}"
) }}
-- depends_on: {{ ref('stale_sessions') }}
-- Billing rules, section 4: where each session of a sandbox (and execution) starts and ends, and why it ended.
with

states as (

    select
        *,
        -- What a stop names is of the session that it ends, also where another opens at that instant.
        case
            when stops_a_session and opens_a_session then session_number - 1
            when stops_a_session or (has_pause and is_running_after and not has_stop) then session_number
        end as closed_session_number,
        lead(event_at) over timeline as next_event_at,
        lead(session_number) over timeline as next_session_number
    from {{ ref('sandbox_states') }}
    window timeline as (partition by timeline_key order by event_at)

),

-- Billing rules, section 4: a resource that the opening does not name is what the first stop or pause names that names it.
closing_resources as (

    select
        timeline_key,
        closed_session_number as session_number,
        {%- for resource in resource_columns() %}
        min_by(closing_{{ resource }}, case when closing_{{ resource }} is not null then event_at end) as {{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from states
    where closed_session_number is not null
    group by timeline_key, closed_session_number

),

-- Events before the first session are ignored: their session_number is 0.
sessions_of_states as (

    select
        timeline_key,
        session_number,
        min(customer_id) as customer_id,
        min(event_at) as started_at,
        max(case when opens_a_session and not has_start and not has_resume then 1 else 0 end) = 1 as is_start_missing,
        max(case when opens_a_session and not is_running_after then 1 else 0 end) = 1 as is_zero_length,
        -- A stop on the instant of the next session's start has the next session's number: see is_stopped_by_next.
        min(case when stops_a_session and not opens_a_session then event_at end) as stopped_at,
        max(case when opens_a_session and stops_a_session then 1 else 0 end) = 1 as starts_with_a_stop,
        max(case when is_running_after then heard_until end) as last_event_at,
        max(case when is_running_after and precedes_a_silence then 1 else 0 end) = 1 as falls_silent,
        max(case when is_running_after and precedes_a_start then 1 else 0 end) = 1 as is_followed_by_a_start,
        -- The pauses that ended while the session ran, and when the one began in which it was last.
        cast(coalesce(sum(
            case
                when is_running_after and is_paused_after and next_session_number = session_number
                    then {{ microseconds_between('event_at', 'next_event_at') }}
            end
        ), 0) as bigint) as ended_pause_microseconds,
        max(
            case
                when is_running_after and is_paused_after and coalesce(next_session_number <> session_number, true) then event_at
            end
        ) as last_paused_at,
        cast(sum(event_count - ignored_event_count) as bigint) as event_count,
        {%- for resource in resource_columns() %}
        max(case when opens_a_session then {{ resource }} end) as {{ resource }}{{ ',' if not loop.last }}
        {%- endfor %}
    from states
    where session_number > 0
    group by timeline_key, session_number

),

sessions_with_next as (

    select
        *,
        lead(started_at) over timeline as next_started_at,
        coalesce(lead(starts_with_a_stop) over timeline, false) as is_stopped_by_next
    from sessions_of_states
    window timeline as (partition by timeline_key order by session_number)

),

-- Billing rules, section 4: a session that is paused also ends where another execution of its sandbox starts or resumes after its last event.
paused_sandboxes as (

    select
        states.timeline_key,
        states.session_number,
        states.last_event_at,
        timelines.sandbox_id
    from sessions_with_next as states
    inner join {{ ref('timelines') }} as timelines on states.timeline_key = timelines.timeline_key
    where states.last_paused_at is not null

),

other_executions as (

    select
        paused.timeline_key,
        paused.session_number,
        min(events.first_at) as resumed_elsewhere_at
    from {{ ref('execution_events') }} as events
    inner join paused_sandboxes as paused
        on
            events.sandbox_id = paused.sandbox_id
            and events.timeline_key <> paused.timeline_key
            and events.first_at > paused.last_event_at
    where events.has_start or events.has_resume
    group by paused.timeline_key, paused.session_number

),

sessions as (

    select
        states.timeline_key,
        timelines.sandbox_id,
        timelines.execution_id,
        states.session_number,
        states.customer_id,
        states.started_at,
        states.is_start_missing,
        states.is_zero_length,
        states.stopped_at,
        states.last_event_at,
        states.falls_silent,
        states.is_followed_by_a_start,
        states.next_started_at,
        states.is_stopped_by_next,
        states.event_count,
        states.ended_pause_microseconds,
        states.last_paused_at,
        elsewhere.resumed_elsewhere_at,
        {%- for resource in resource_columns() %}
        coalesce(states.{{ resource }}, closing.{{ resource }}) as {{ resource }},
        {%- endfor %}
        false as is_plain
    from sessions_with_next as states
    inner join {{ ref('timelines') }} as timelines on states.timeline_key = timelines.timeline_key
    left join other_executions as elsewhere
        on
            states.timeline_key = elsewhere.timeline_key
            and states.session_number = elsewhere.session_number
    left join closing_resources as closing
        on
            states.timeline_key = closing.timeline_key
            and states.session_number = closing.session_number

    union all

    select
        timeline_key,
        sandbox_id,
        execution_id,
        1 as session_number,
        customer_id,
        first_at as started_at,
        false as is_start_missing,
        false as is_zero_length,
        stopped_at,
        heard_until as last_event_at,
        false as falls_silent,
        false as is_followed_by_a_start,
        cast(null as timestamp) as next_started_at,
        false as is_stopped_by_next,
        event_count,
        cast(0 as bigint) as ended_pause_microseconds,
        cast(null as timestamp) as last_paused_at,
        cast(null as timestamp) as resumed_elsewhere_at,
        {%- for resource in resource_columns() %}
        {{ resource }},
        {%- endfor %}
        true as is_plain
    from {{ ref('timelines') }}
    where is_plain

),

heard_listings as (

    {% if has_listings() %}
    {{ heard_listings(
        '(select * from sessions where stopped_at is null and not is_stopped_by_next and not is_zero_length and last_paused_at is null)'
    ) | indent(4) }}
    {% else %}
    select
        timeline_key,
        1 as session_number,
        false as is_displaced,
        cast(null as timestamp) as last_listed_at,
        cast(null as timestamp) as last_listing_at
    from {{ ref('timelines') }}
    where 1 = 0
    {% endif %}

),

-- Billing rules, section 4: the plan is the one in force at the session's start.
sessions_with_terms as (

    select
        sessions.*,
        terms.plan_id,
        terms.contract_id,
        terms.max_session_seconds,
        {%- for resource in default_resource_columns() %}
        terms.default_{{ resource }},
        {%- endfor %}
        build.as_of,
        -- The time of a pause does not count, and a paused session stays open.
        case
            when terms.max_session_seconds is null or sessions.last_paused_at is not null then {{ end_of_time() }}
            else {{ plus_microseconds(
                'sessions.started_at', 'terms.max_session_seconds * 1000000 + sessions.ended_pause_microseconds'
            ) }}
        end as limit_at,
        {{ plus_seconds('sessions.last_event_at', 'build.heartbeat_timeout_seconds') }} as silent_at,
        heard.last_listed_at,
        heard.last_listing_at,
        heard.is_displaced,
        greatest(sessions.last_event_at, heard.last_listed_at) as confirmed_until
    from sessions
    left join heard_listings as heard
        on
            sessions.timeline_key = heard.timeline_key
            and sessions.session_number = heard.session_number
    -- A left join, so that no session is lost: the test every_customer_has_terms fails the build if terms are missing.
    left join {{ ref('customer_terms') }} as terms
        on
            sessions.customer_id = terms.customer_id
            and sessions.started_at >= terms.starts_at
            and sessions.started_at < terms.ends_at
    cross join {{ ref('stg_build_inputs') }} as build

),

-- Billing rules, section 4: a session without a stop ends at the plan's maximum length, or at its last event (or listing) if that is later.
sessions_with_inferred_end as (

    select
        *,
        greatest(limit_at, confirmed_until) as inferred_end_at
    from sessions_with_terms

),

sessions_of_their_timeline as (

    select
        *,
        case
            when is_zero_length then started_at
            when stopped_at is not null then stopped_at
            when is_stopped_by_next then next_started_at
            when falls_silent then least(silent_at, inferred_end_at)
            when next_started_at is not null then least(next_started_at, inferred_end_at)
            when as_of < limit_at then as_of
            else least(inferred_end_at, as_of)
        end as ended_in_timeline_at,
        case
            when is_zero_length or stopped_at is not null or is_stopped_by_next then 'stopped'
            when falls_silent and silent_at <= inferred_end_at then 'heartbeat_lost'
            when is_followed_by_a_start then 'stop_missing'
            when falls_silent then 'end_inferred'
            when as_of < limit_at then 'open'
            else 'end_inferred'
        end as end_reason_in_timeline
    from sessions_with_inferred_end

),

-- Billing rules, section 4: a later listing does not name the sandbox any more.
sessions_with_other_ends as (

    select
        *,
        coalesce(
            {{ is_gone_from_listings() }} and confirmed_until <= ended_in_timeline_at, false
        ) as is_gone,
        coalesce(
            resumed_elsewhere_at < ended_in_timeline_at and end_reason_in_timeline <> 'stopped', false
        ) as is_ended_elsewhere
    from sessions_of_their_timeline

),

ended_sessions as (

    select
        *,
        case
            when is_ended_elsewhere then resumed_elsewhere_at
            when is_gone then confirmed_until
            else ended_in_timeline_at
        end as ended_at,
        case
            when is_ended_elsewhere then 'stop_missing'
            when is_gone then 'gone_from_listing'
            else end_reason_in_timeline
        end as end_reason
    from sessions_with_other_ends

),

paused_sessions as (

    select
        *,
        ended_pause_microseconds
        + coalesce({{ microseconds_between('last_paused_at', 'ended_at') }}, 0) as paused_microseconds
    from ended_sessions

)

select
    md5({{ session_text() }}) as session_id,
    {{ hashed_key(session_text()) }} as session_key,
    timeline_key,
    sandbox_id,
    execution_id,
    session_number,
    customer_id,
    plan_id,
    contract_id,
    started_at,
    ended_at,
    end_reason,
    is_start_missing,
    is_zero_length,
    event_count,
    {% for resource in default_resource_columns() %}{{ resource }} is null{{ ' or ' if not loop.last }}{% endfor %}
        as has_defaulted_resources,
    max_session_seconds,
    {{ microseconds_between('started_at', 'ended_at') }} - paused_microseconds as duration_microseconds,
    paused_microseconds,
    last_paused_at is not null as is_paused_at_end,
    last_event_at,
    last_listed_at,
    is_plain,
    -- What the session opens with; a plain one holds it all the time.
    {%- for resource in resource_columns() %}
    coalesce(
        {{ resource }},
        {{ 'default_' ~ resource if resource in default_resource_columns() else 'cast(0 as decimal(18, 6))' }}
    ) as opening_{{ resource }}{{ ',' if not loop.last }}
    {%- endfor %}
from paused_sessions
