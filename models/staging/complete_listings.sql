{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    full_refresh_when='listings_need_full_refresh',
    pre_hook='{{ delete_listed_days(clears_state=true) }}'
) }}
-- depends_on: {{ ref('stg_build_inputs') }}
-- depends_on: {{ ref('stg_landed_files') }}
-- Billing rules, section 4: a listing counts once all its parts have landed.
{% set plan = listing_plan() %}
with

listings as (

    select
        scope,
        listed_at,
        cast(listed_at as date) as listed_date
    from {{ listings_to_read(plan) }} as parts
    where {{ is_on_a_read_day('listed_at', plan) }}
    group by scope, listed_at
    having
        min(parts) = max(parts)
        and count(*) = max(parts)

)

select
    listed_date,
    scope,
    listed_at,
    cast(row_number() over (partition by listed_date, scope order by listed_at) as integer) as listing_number
from listings
