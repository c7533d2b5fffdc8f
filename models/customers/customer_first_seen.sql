-- Billing rules, section 5: a customer exists from its first event (or a start that a stop or pause reports), its first subscription record or
-- the start of its first contract, whichever is earliest. An instant before the books open counts as their opening (section 2).
with

build as (

    select
        as_of,
        books_open_at
    from {{ ref('stg_build_inputs') }}

),

first_events as (

    select
        customer_id,
        first_event_at
    from {{ ref('customer_first_events') }}

),

-- A stop or a pause can report that its session started before the customer's first event. Few do.
reports_before_first_event as (

    select distinct
        events.customer_id,
        events.timeline_key
    from {{ ref('execution_events') }} as events
    inner join first_events on events.customer_id = first_events.customer_id
    where
        -- Says the same twice: by the null, the engine skips what has no reported start.
        events.reported_start_at is not null
        and events.reported_start_at < first_events.first_event_at

),

reported_openings as (

    select
        reports.customer_id,
        min(openings.opening_at) as first_opening_at
    from reports_before_first_event as reports
    inner join ({{ reported_openings_of('reports_before_first_event', ref('execution_events')) | indent(4) }}) as openings
        on reports.timeline_key = openings.timeline_key
    group by reports.customer_id

),

first_uses as (

    select
        first_events.customer_id,
        least(first_events.first_event_at, coalesce(reported_openings.first_opening_at, first_events.first_event_at))
            as first_event_at
    from first_events
    left join reported_openings on first_events.customer_id = reported_openings.customer_id

),

first_subscriptions as (

    select
        records.customer_id,
        min(greatest(records.effective_at, build.books_open_at)) as first_subscribed_at
    from {{ ref('plan_records') }} as records
    cross join build
    where greatest(records.effective_at, build.books_open_at) <= build.as_of
    group by records.customer_id

),

first_contracts as (

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

    select customer_id from first_uses
    union
    select customer_id from first_subscriptions
    union
    select customer_id from first_contracts

),

first_instants as (

    select
        customers.customer_id,
        first_uses.first_event_at,
        first_subscriptions.first_subscribed_at,
        first_contracts.first_contract_at,
        least(
            coalesce(first_uses.first_event_at, first_subscriptions.first_subscribed_at),
            coalesce(first_subscriptions.first_subscribed_at, first_uses.first_event_at)
        ) as first_seen_at
    from customers
    left join first_uses on customers.customer_id = first_uses.customer_id
    left join first_subscriptions on customers.customer_id = first_subscriptions.customer_id
    left join first_contracts on customers.customer_id = first_contracts.customer_id

)

select
    customer_id,
    first_event_at,
    first_subscribed_at,
    first_contract_at,
    first_seen_at,
    least(coalesce(first_seen_at, first_contract_at), coalesce(first_contract_at, first_seen_at)) as customer_since
from first_instants
