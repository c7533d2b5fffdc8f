-- Fails if a customer's terms overlap or have a gap: time on a plan would count twice or not at all.
with

terms_in_order as (

    select
        customer_id,
        starts_at,
        ends_at,
        lag(ends_at) over (partition by customer_id order by starts_at) as previous_ends_at
    from {{ ref('customer_terms') }}

)

select
    customer_id,
    starts_at,
    ends_at,
    previous_ends_at
from terms_in_order
where
    starts_at >= ends_at
    or starts_at <> coalesce(previous_ends_at, starts_at)
