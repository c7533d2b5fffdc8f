-- Billing rules, section 5: which plan a customer was on, from when (inclusive) until when (exclusive).
with

-- A record that is effective before the books open counts from their opening (section 2).
records as (

    select
        records.customer_id,
        records.plan_id,
        records.is_trial,
        records.effective_at,
        greatest(records.effective_at, build.books_open_at) as starts_at,
        records.landed_sequence,
        records.file_row
    from {{ ref('plan_records') }} as records
    cross join {{ ref('stg_build_inputs') }} as build
    where greatest(records.effective_at, build.books_open_at) <= build.as_of

),

-- A record landed later, with the same customer and instant, supersedes the earlier one: that is how a mistake is corrected. Of several
-- before the books open, the latest effective one counts.
ranked_records as (

    select
        customer_id,
        plan_id,
        is_trial,
        starts_at,
        row_number() over (
            partition by customer_id, starts_at
            order by effective_at desc, landed_sequence desc, file_row desc
        ) as recency
    from records

),

-- Before its first record, and with none, a customer is on the default plan.
before_the_first_record as (

    select
        seen.customer_id,
        default_plan.plan_id,
        seen.customer_since as starts_at
    from {{ ref('customer_first_seen') }} as seen
    cross join {{ ref('default_plan') }} as default_plan
    where seen.customer_since < coalesce(seen.first_subscribed_at, {{ end_of_time() }})

),

changes as (

    select
        customer_id,
        plan_id,
        is_trial,
        starts_at
    from ranked_records
    where recency = 1

    union all

    select
        customer_id,
        plan_id,
        false as is_trial,
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
    changes.is_trial,
    changes.starts_at,
    coalesce(
        lead(changes.starts_at) over (partition by changes.customer_id order by changes.starts_at),
        horizon.ends_at
    ) as ends_at
from changes
cross join horizon
