-- Billing rules, section 5: dated records of who is on which plan from when. They land as files; where a price in Stripe stands
-- for a plan (seeds/stripe_prices.csv), a subscription there is such a record, too. At one instant, what landed comes first.
select
    customer_id,
    plan_id,
    is_trial,
    effective_at,
    landed_sequence,
    cast(file_row as bigint) as file_row,
    'landed' as source
from {{ ref('stg_subscriptions') }}

union all

select
    records.customer_id,
    -- A subscription that is over leaves its customer where one without any is.
    coalesce(records.plan_id, default_plan.plan_id) as plan_id,
    records.is_trial,
    records.effective_at,
    0 as landed_sequence,
    cast(1 as bigint) as file_row,
    'stripe' as source
from {{ ref('stripe_plan_records') }} as records
cross join {{ ref('default_plan') }} as default_plan
