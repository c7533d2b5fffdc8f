{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_customer_days() }}"
) }}
-- depends_on: {{ ref('dirty_customer_days') }}
-- Billing rules, section 8: how many sandboxes a customer ran at the same time. A level ends where the number or the limit changes, and at
-- midnight UTC, so that each lies in one day and one month.
with

changes as (

    select
        customer_id,
        usage_date,
        started_at as changed_at,
        1 as change
    from {{ ref('sandbox_runs') }}
    union all
    select
        customer_id,
        usage_date,
        ended_at,
        -1
    from {{ ref('sandbox_runs') }}
    union all
    -- A change of terms may change the limit: the level is cut there, the number stays.
    select
        customer_id,
        cast(starts_at as date),
        starts_at,
        0
    from {{ ref('customer_terms') }}

),

-- The changes of one instant act together: all but the last make a level without length.
levels as (

    select
        customer_id,
        usage_date,
        changed_at as started_at,
        lead(changed_at) over timeline as ended_at,
        sum(change) over (
            partition by customer_id, usage_date order by changed_at
            range between unbounded preceding and current row
        ) as sandboxes
    from changes
    window timeline as (partition by customer_id, usage_date order by changed_at)

)

select
    levels.customer_id,
    levels.usage_date,
    {{ billing_period('levels.started_at') }} as period,
    levels.started_at,
    levels.ended_at,
    {{ microseconds_between('levels.started_at', 'levels.ended_at') }} as duration_microseconds,
    cast(levels.sandboxes as integer) as sandboxes,
    terms.max_concurrent_sandboxes
from levels
left join {{ ref('customer_terms') }} as terms
    on
        levels.customer_id = terms.customer_id
        and levels.started_at >= terms.starts_at
        and levels.started_at < terms.ends_at
where levels.sandboxes > 0 and levels.started_at < levels.ended_at
