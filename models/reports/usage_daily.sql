select
    days.customer_id,
    days.usage_date,
    days.period,
    days.plan_id,
    days.meter_id,
    days.rate_id,
    days.quantity,
    meters.unit,
    days.amount,
    days.currency
from {{ ref('due_usage_by_day') }} as days
inner join {{ ref('meters') }} as meters on days.meter_id = meters.meter_id
