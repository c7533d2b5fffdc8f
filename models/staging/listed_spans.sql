{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    full_refresh_when='listings_need_full_refresh',
    pre_hook='{{ delete_listed_days() }}',
    post_hook='{{ record_listings() }}'
) }}
-- depends_on: {{ ref('stg_build_inputs') }}
-- depends_on: {{ ref('stg_landed_files') }}
-- Billing rules, section 4: from when to when all complete listings of a scope name a sandbox, on each day.
{% set plan = listing_plan() %}
{# Read twice, but not stored: few sandboxes need the second read. #}
{% set not_stored = 'not materialized ' if target.type == 'duckdb' else '' %}
with

named_sandboxes as {{ not_stored }}(

    select
        listings.listed_date,
        listings.scope,
        listings.listed_at,
        listings.listing_number,
        {{ ids_of('parts.sandbox_ids') }} as sandbox_id
    from {{ listings_to_read(plan) }} as parts
    inner join {{ ref('complete_listings') }} as listings
        on
            parts.scope = listings.scope
            and parts.listed_at = listings.listed_at
    where {{ is_on_a_read_day('listings.listed_at', plan) }}

),

-- Most sandboxes are in every listing of a day from the first that names them to the last, and need no window function.
sandbox_days as (

    select
        listed_date,
        scope,
        sandbox_id,
        min(listed_at) as first_listed_at,
        max(listed_at) as last_listed_at,
        -- Two parts of a listing may name the same sandbox.
        count(distinct listing_number) < max(listing_number) - min(listing_number) + 1 as has_gaps
    from named_sandboxes
    group by listed_date, scope, sandbox_id

),

listings_around_gaps as (

    select distinct
        named.listed_date,
        named.scope,
        named.sandbox_id,
        named.listed_at,
        named.listing_number
    from named_sandboxes as named
    inner join sandbox_days as days
        on
            named.listed_date = days.listed_date
            and named.scope = days.scope
            and named.sandbox_id = days.sandbox_id
    where days.has_gaps

),

-- Listings without a gap between them have the same difference between their number and their place among those that name the sandbox.
numbered_listings as (

    select
        listed_date,
        scope,
        sandbox_id,
        listed_at,
        listing_number - row_number() over (
            partition by listed_date, scope, sandbox_id order by listing_number
        ) as gaps_before
    from listings_around_gaps

)

select
    listed_date,
    scope,
    sandbox_id,
    first_listed_at,
    last_listed_at
from sandbox_days
where not has_gaps

union all

select
    listed_date,
    scope,
    sandbox_id,
    min(listed_at) as first_listed_at,
    max(listed_at) as last_listed_at
from numbered_listings
group by listed_date, scope, sandbox_id, gaps_before
