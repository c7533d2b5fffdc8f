select
    customer_id,
    plan_id,
    is_trial,
    {{ from_utc('starts_at') }} as starts_at,
    {{ from_utc('ends_at') }} as ends_at
from {{ ref('customer_plan_periods') }}
