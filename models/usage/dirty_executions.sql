{{ config(post_hook='{{ begin_rating() }}') }}
-- depends_on: {{ ref('stg_build_inputs') }}
-- depends_on: {{ ref('customer_terms') }}
-- depends_on: {{ ref('customer_currencies') }}
-- The timelines (sandbox and execution) that this build recomputes. Compared with the last finished build: events landed or were voided,
-- a session ran at its as_of, the terms or currency of the customer changed, or listings say something else of a session. The sessions of all other timelines stay unchanged.
-- Empty in a full refresh, which recomputes all timelines.
{% if needs_full_rating() %}
select
    timeline_key,
    sandbox_id,
    execution_id
from {{ ref('compacted_events') }}
where 1 = 0
{% else %}
{% set hears_listings = has_listings() or heard_listings_before() %}
with

last_build as (

    select * from {{ state_table('rated_inputs') }}

),

-- Terms have no gaps: the end of one is the start of the next and need not be compared.
previous_terms as (

    select * exclude (ends_at) from {{ state_table('known_terms') }}

),

current_terms as (

    select * exclude (ends_at) from {{ ref('customer_terms') }}

),

removed_terms as (

    select * from previous_terms
    except
    select * from current_terms

),

added_terms as (

    select * from current_terms
    except
    select * from previous_terms

),

previous_currencies as (

    select * exclude (ends_at) from {{ state_table('known_currencies') }}

),

current_currencies as (

    select * exclude (ends_at) from {{ ref('customer_currencies') }}

),

removed_currencies as (

    select * from previous_currencies
    except
    select * from current_currencies

),

added_currencies as (

    select * from current_currencies
    except
    select * from previous_currencies

),

changed_terms as (

    select
        customer_id,
        starts_at
    from removed_terms
    union all
    select
        customer_id,
        starts_at
    from added_terms
    union all
    select
        customer_id,
        starts_at
    from removed_currencies
    union all
    select
        customer_id,
        starts_at
    from added_currencies

),

-- Terms that begin after the last build's as_of had no effect on it.
changed_customers as (

    select changed_terms.customer_id
    from changed_terms
    cross join last_build
    where changed_terms.starts_at <= last_build.as_of

){% if hears_listings %},

unstopped_sessions as (

    select *
    from (
        select
            *,
            lead(started_at) over (partition by timeline_key order by session_number) as next_started_at
        from {{ last_built('sandbox_sessions') }}
    ) as sessions
    where
        end_reason <> 'stopped'
        and not is_paused_at_end

),

heard_listings as (

    {{ heard_listings('unstopped_sessions') | indent(4) }}

),

sessions_with_listings as (

    select
        sessions.timeline_key,
        sessions.sandbox_id,
        sessions.execution_id,
        sessions.last_listed_at is distinct from heard.last_listed_at as is_listed_otherwise,
        sessions.end_reason = 'gone_from_listing' as was_gone,
        coalesce(
            heard.last_listing_at > greatest(sessions.last_event_at, heard.last_listed_at)
            and greatest(sessions.last_event_at, heard.last_listed_at) <= sessions.ended_at, false
        ) as is_gone
    from unstopped_sessions as sessions
    left join heard_listings as heard
        on
            sessions.timeline_key = heard.timeline_key
            and sessions.session_number = heard.session_number

)
{% endif %}

select
    timeline_key,
    sandbox_id,
    execution_id
from {{ ref('compacted_events') }}
where build_number > (select build_number from last_build)
union
-- What lands of one execution decides where events without an execution belong.
select
    timeline_key,
    sandbox_id,
    execution_id
from {{ ref('compacted_events') }}
where sandbox_id in (
    select sandbox_id from {{ ref('compacted_events') }}
    where
        build_number > (select build_number from last_build)
        and sandbox_id in (select sandbox_id from {{ ref('mixed_sandboxes') }})
    union all
    select sandbox_id from {{ state_table('applied_voids') }}
    where event_id not in (select event_id from {{ state_table('known_voids') }})
)
union
select
    timeline_key,
    sandbox_id,
    execution_id
from {{ ref('compacted_events') }}
where customer_id in (select customer_id from changed_customers)
union
select
    timeline_key,
    sandbox_id,
    execution_id
from {{ state_table('open_executions') }}
{% if hears_listings -%}
union
select
    timeline_key,
    sandbox_id,
    execution_id
from sessions_with_listings
where
    is_listed_otherwise
    or is_gone <> was_gone
{% endif -%}
union
-- A paused session ends where another execution of its sandbox starts.
select
    sessions.timeline_key,
    sessions.sandbox_id,
    sessions.execution_id
from {{ last_built('sandbox_sessions') }} as sessions
where
    sessions.is_paused_at_end
    and sessions.sandbox_id in (
        select sandbox_id from {{ ref('compacted_events') }}
        where build_number > (select build_number from last_build)
        union all
        select sandbox_id from {{ state_table('applied_voids') }}
        where event_id not in (select event_id from {{ state_table('known_voids') }})
    )
union
-- A day with all its events voided has no new row in compacted_events.
select
    {{ timeline_key('sandbox_id', 'execution_id') }} as timeline_key,
    sandbox_id,
    execution_id
from {{ state_table('applied_voids') }}
where event_id not in (select event_id from {{ state_table('known_voids') }})
{% endif %}
