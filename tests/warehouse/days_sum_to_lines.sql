-- Billing rules, section 2. Fails if the days of a due usage line do not sum to its quantity and amount exactly. Of the customer-months that
-- the build recomputes; all of them in a full refresh.
with

day_sums as (

    select
        days.customer_id,
        days.period,
        days.currency,
        days.plan_id,
        days.meter_id,
        days.rate_id,
        sum(days.quantity) as quantity,
        sum(days.amount) as amount
    from {{ ref('due_usage_by_day') }} as days
    {{ only_dirty_customer_months('days') }}
    group by days.customer_id, days.period, days.currency, days.plan_id, days.meter_id, days.rate_id

)

select
    lines.customer_id,
    lines.service_period,
    lines.meter_id,
    lines.rate_id,
    lines.quantity,
    lines.amount,
    day_sums.quantity as days_quantity,
    day_sums.amount as days_amount
from {{ ref('due_lines') }} as lines
{{ only_dirty_customer_months('lines', 'service_period') }}
left join day_sums
    on
        lines.customer_id = day_sums.customer_id
        and lines.service_period = day_sums.period
        and lines.currency = day_sums.currency
        and lines.plan_id = day_sums.plan_id
        and lines.meter_id = day_sums.meter_id
        and lines.rate_id = day_sums.rate_id
where
    lines.line_type = 'usage'
    and (
        coalesce(day_sums.quantity, 0) <> lines.quantity
        or coalesce(day_sums.amount, 0) <> lines.amount
    )
