-- Billing rules, section 5: the plan that a customer is on, from starts_at (inclusive) until ends_at (exclusive).
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

-- Of several records of one customer and instant the last landed counts: a mistake is corrected that way. Of several from before the books
-- open the latest effective one counts (section 2).
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
default_plan_starts as (

    select
        seen.customer_id,
        default_plan.plan_id,
        seen.customer_since as starts_at
    from {{ ref('customer_first_seen') }} as seen
    cross join {{ ref('default_plan') }} as default_plan
    where seen.customer_since < coalesce(seen.first_subscribed_at, {{ end_of_time() }})

),

plan_starts as (

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
    from default_plan_starts

),

-- Time on a plan counts to the end of the month that is running at as_of. The month after it is included for fees in advance.
horizon as (

    select date_trunc('month', as_of) + interval 2 month as ends_at
    from {{ ref('stg_build_inputs') }}

)

select
    plan_starts.customer_id,
    plan_starts.plan_id,
    plan_starts.is_trial,
    plan_starts.starts_at,
    coalesce(
        lead(plan_starts.starts_at) over (partition by plan_starts.customer_id order by plan_starts.starts_at),
        horizon.ends_at
    ) as ends_at
from plan_starts
cross join horizon
