-- Billing rules, section 5: a customer exists from its first event, its first subscription record or the start of its first contract,
-- whichever is earliest, and not before the books open (section 2).
with

build as (

    select
        as_of,
        books_open_at
    from {{ ref('stg_build_inputs') }}

),

seen_events as (

    select
        customer_id,
        min(first_at) as first_event_at
    from {{ ref('folded_events') }}
    group by customer_id

),

seen_subscriptions as (

    select
        records.customer_id,
        min(greatest(records.effective_at, build.books_open_at)) as first_subscribed_at
    from {{ ref('plan_records') }} as records
    cross join build
    where greatest(records.effective_at, build.books_open_at) <= build.as_of
    group by records.customer_id

),

seen_contracts as (

    select
        contracts.customer_id,
        min(greatest({{ to_utc('contracts.starts_at') }}, build.books_open_at)) as first_contract_at
    from {{ ref('contracts') }} as contracts
    cross join build
    where
        greatest({{ to_utc('contracts.starts_at') }}, build.books_open_at) <= build.as_of
        and coalesce({{ to_utc('contracts.ends_at') }}, {{ end_of_time() }}) > build.books_open_at
    group by contracts.customer_id

),

customers as (

    select customer_id from seen_events
    union
    select customer_id from seen_subscriptions
    union
    select customer_id from seen_contracts

),

seen as (

    select
        customers.customer_id,
        seen_events.first_event_at,
        seen_subscriptions.first_subscribed_at,
        seen_contracts.first_contract_at,
        least(
            coalesce(seen_events.first_event_at, seen_subscriptions.first_subscribed_at),
            coalesce(seen_subscriptions.first_subscribed_at, seen_events.first_event_at)
        ) as first_seen_at
    from customers
    left join seen_events on customers.customer_id = seen_events.customer_id
    left join seen_subscriptions on customers.customer_id = seen_subscriptions.customer_id
    left join seen_contracts on customers.customer_id = seen_contracts.customer_id

)

select
    customer_id,
    first_event_at,
    first_subscribed_at,
    first_contract_at,
    first_seen_at,
    least(coalesce(first_seen_at, first_contract_at), coalesce(first_contract_at, first_seen_at)) as customer_since
from seen
