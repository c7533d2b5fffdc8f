{{ config(post_hook='{{ begin_rating() }}') }}
-- depends_on: {{ ref('stg_build_inputs') }}
-- depends_on: {{ ref('customer_terms') }}
-- depends_on: {{ ref('customer_currencies') }}
-- depends_on: {{ ref('complete_listings') }}
-- depends_on: {{ ref('listed_spans') }}
-- depends_on: {{ ref('execution_events') }}
-- depends_on: {{ ref('mixed_sandboxes') }}
-- The timelines (sandbox and execution) that this build recomputes. Compared with the last finished build: events landed or were voided,
-- a session ran at its as_of, the terms or currency of the customer changed, or listings say something else of a session. The sessions of
-- all other timelines stay unchanged. Empty in a full refresh, which recomputes all timelines.
{% if needs_full_rating() %}
select
    timeline_key,
    sandbox_id,
    execution_id
from {{ ref('compacted_events') }}
where 1 = 0
{% else %}
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

)

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
    select sandbox_id from {{ new_voids() }} as voids
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
{% if has_listings() or heard_listings_before() -%}
union
select
    timeline_key,
    sandbox_id,
    execution_id
from ({{ relisted_sessions() }}) as sessions
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
        select sandbox_id from {{ new_voids() }} as voids
    )
union
-- A day with all its events voided has no new row in compacted_events.
select
    {{ timeline_key('sandbox_id', 'execution_id') }} as timeline_key,
    sandbox_id,
    execution_id
from {{ new_voids() }} as voids
{% endif %}
