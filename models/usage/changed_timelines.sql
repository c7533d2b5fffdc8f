{{ config(post_hook='{{ begin_rating() }}') }}
-- depends_on: {{ ref('stg_build_inputs') }}
-- depends_on: {{ ref('customer_terms') }}
-- depends_on: {{ ref('customer_currencies') }}
-- Which timelines (runs of a sandbox) this build works out anew: those that something landed for since the last finished build,
-- those that ran until its as_of, those with newly voided events, and those of customers whose terms or currency are not what it knew. The sessions of all others
-- stay as they are.
-- Where nothing can be taken over, no timeline is here: all of them are worked out.
{% if must_rate_from_scratch() %}
select
    sandbox_id,
    execution_id
from {{ ref('folded_events') }}
where 1 = 0
{% else %}
with

standing as (

    select * from {{ state_table('rated_state') }}

),

-- Terms follow one another, so that an end is the next one's start.
terms_then as (

    select * exclude (ends_at) from {{ state_table('known_terms') }}

),

terms_now as (

    select * exclude (ends_at) from {{ ref('customer_terms') }}

),

terms_gone as (

    select * from terms_then
    except
    select * from terms_now

),

terms_come as (

    select * from terms_now
    except
    select * from terms_then

),

currencies_then as (

    select * exclude (ends_at) from {{ state_table('known_currencies') }}

),

currencies_now as (

    select * exclude (ends_at) from {{ ref('customer_currencies') }}

),

currencies_gone as (

    select * from currencies_then
    except
    select * from currencies_now

),

currencies_come as (

    select * from currencies_now
    except
    select * from currencies_then

),

changed_terms as (

    select
        customer_id,
        starts_at
    from terms_gone
    union all
    select
        customer_id,
        starts_at
    from terms_come
    union all
    select
        customer_id,
        starts_at
    from currencies_gone
    union all
    select
        customer_id,
        starts_at
    from currencies_come

),

-- What begins after the last build's as_of cannot have mattered to it.
changed_customers as (

    select changed_terms.customer_id
    from changed_terms
    cross join standing
    where changed_terms.starts_at <= standing.as_of

)

select
    sandbox_id,
    execution_id
from {{ ref('folded_events') }}
where build_number > (select build_number from standing)
union
select
    sandbox_id,
    execution_id
from {{ ref('folded_events') }}
where customer_id in (select customer_id from changed_customers)
union
select
    sandbox_id,
    execution_id
from {{ state_table('open_timelines') }}
union
-- A day of which every event is voided has no newly built row.
select
    sandbox_id,
    execution_id
from {{ state_table('applied_voids') }}
where event_id not in (select event_id from {{ state_table('known_voids') }})
{% endif %}
