-- Billing rules, section 5: which plan a customer was on, from when (inclusive) until when (exclusive).
with

-- A record landed later, with the same customer and instant, supersedes the earlier one: that is how a mistake is corrected.
standing_records as (

    select
        customer_id,
        plan_id,
        effective_at,
        row_number() over (
            partition by customer_id, effective_at
            order by landed_sequence desc, file_row desc
        ) as recency
    from {{ ref('plan_records') }}
    where effective_at <= (select as_of from {{ ref('stg_build_inputs') }})

),

-- Before its first record, and with none, a customer is on hobby from its first event.
before_the_first_record as (

    select
        customer_id,
        'hobby' as plan_id,
        first_event_at as starts_at
    from {{ ref('customer_first_seen') }}
    where first_event_at < coalesce(first_subscribed_at, {{ end_of_time() }})

),

changes as (

    select
        customer_id,
        plan_id,
        effective_at as starts_at
    from standing_records
    where recency = 1

    union all

    select
        customer_id,
        plan_id,
        starts_at
    from before_the_first_record

),

-- The month still running at as_of counts to its end: nothing yet says otherwise. So does the month after it, for fees in advance.
horizon as (

    select date_trunc('month', as_of) + interval 2 month as ends_at
    from {{ ref('stg_build_inputs') }}

)

select
    changes.customer_id,
    changes.plan_id,
    changes.starts_at,
    coalesce(
        lead(changes.starts_at) over (partition by changes.customer_id order by changes.starts_at),
        horizon.ends_at
    ) as ends_at
from changes
cross join horizon
