-- How many vCPU-hours did a customer use each day, and to which line do they sum?
-- Billed usage of the invoice's month. The vCPU-seconds are exact: vcpu_seconds_so_far of a line's last day is the line's quantity, and
-- the amounts sum to its amount. Hours are rounded to be read: add up seconds. A line that corrects an earlier month has no days.
select
    days.usage_date,
    lines.line_number,
    days.plan_id,
    -- Hundredths of an hour, rounded half up: whole numbers, since a division gives a binary number.
    (cast(floor(days.quantity + 18) as hugeint) // 36) * 0.01 as vcpu_hours,
    days.quantity as vcpu_seconds,
    sum(days.quantity) over line_days as vcpu_seconds_so_far,
    (cast(floor(lines.quantity + 18) as hugeint) // 36) * 0.01 as line_vcpu_hours,
    lines.quantity as line_vcpu_seconds,
    days.amount,
    lines.amount as line_amount,
    days.currency
from billing.billed_usage_daily as days
inner join billing.invoice_lines as lines using (invoice_id, line_id)
where days.invoice_id = {{ var('invoice_id') }} and days.meter_id = 'vcpu'
window line_days as (partition by lines.line_id order by days.usage_date)
order by lines.line_number, days.usage_date
