{{ config(materialized='view') }}
-- Billing rules, section 2: the days of each usage line that is not closed yet, which sum to it exactly. A correction has no days of
-- its own: it is a difference between two months' worth.
select
    lines.invoice_id,
    lines.line_id,
    lines.customer_id,
    lines.period,
    days.usage_date,
    lines.currency,
    lines.plan_id,
    lines.meter_id,
    lines.rate_id,
    days.quantity,
    lines.unit,
    days.amount
from {{ ref('draft_invoice_lines') }} as lines
inner join {{ ref('due_usage_by_day') }} as days
    on
        lines.customer_id = days.customer_id
        and lines.service_period = days.period
        and lines.currency = days.currency
        and lines.plan_id = days.plan_id
        and lines.meter_id = days.meter_id
        and lines.rate_id = days.rate_id
where
    lines.line_type = 'usage'
    and not lines.is_adjustment
