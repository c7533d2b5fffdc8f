-- Billing rules, section 5: dated records of a customer's plan. They land as files, or come from subscriptions in Stripe whose prices
-- seeds/stripe_prices.csv maps to plans. At one instant a landed record counts, not Stripe's: its landed_sequence is higher.
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
    -- Billing rules, section 5: a customer whose subscriptions give no plan any more is on the default plan.
    coalesce(records.plan_id, default_plan.plan_id) as plan_id,
    records.is_trial,
    records.effective_at,
    0 as landed_sequence,
    cast(1 as bigint) as file_row,
    'stripe' as source
from {{ ref('stripe_plan_records') }} as records
cross join {{ ref('default_plan') }} as default_plan
