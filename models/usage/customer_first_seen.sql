-- Billing rules, section 5: a customer exists from its first event or first subscription record, whichever is earlier.
with

seen_events as (

    select
        customer_id,
        min(first_at) as first_event_at
    from {{ ref('folded_events') }}
    group by customer_id

),

seen_subscriptions as (

    select
        customer_id,
        min(effective_at) as first_subscribed_at
    from {{ ref('plan_records') }}
    where effective_at <= (select as_of from {{ ref('stg_build_inputs') }})
    group by customer_id

)

select
    coalesce(seen_events.customer_id, seen_subscriptions.customer_id) as customer_id,
    seen_events.first_event_at,
    seen_subscriptions.first_subscribed_at,
    least(
        coalesce(seen_events.first_event_at, seen_subscriptions.first_subscribed_at),
        coalesce(seen_subscriptions.first_subscribed_at, seen_events.first_event_at)
    ) as first_seen_at
from seen_events
full outer join seen_subscriptions on seen_events.customer_id = seen_subscriptions.customer_id
