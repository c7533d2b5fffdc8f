select
    stripe_subscription_id,
    stripe_customer_id,
    customer_id,
    stripe_status,
    plan_id,
    is_trial,
    item_count,
    plan_item_count,
    problem,
    ends_at is null as is_current,
    {{ from_utc('starts_at') }} as starts_at,
    {{ from_utc('ends_at') }} as ends_at
from {{ ref('stripe_subscription_states') }}
