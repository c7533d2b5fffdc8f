{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    unique_key=['customer_id'],
    full_refresh_when='first_events_need_full_refresh'
) }}
-- depends_on: {{ ref('stg_build_inputs') }}
-- Billing rules, section 5: each customer's first event. Incremental: only events that landed since the last build can be earlier.
{% if reuses_rows() %}
with

landed_events as (

    select
        customer_id,
        min(first_at) as first_event_at
    from {{ ref('compacted_events') }}
    where build_number > (select rated.build_number from {{ state_table('rated_inputs') }} as rated)
    group by customer_id

)

select
    landed_events.customer_id,
    least(landed_events.first_event_at, coalesce(known.first_event_at, landed_events.first_event_at)) as first_event_at
from landed_events
left join {{ this }} as known on landed_events.customer_id = known.customer_id
{% else %}
select
    customer_id,
    min(first_at) as first_event_at
from {{ ref('compacted_events') }}
group by customer_id
{% endif %}
