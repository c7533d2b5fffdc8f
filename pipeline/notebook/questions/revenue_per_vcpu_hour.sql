-- What is the effective revenue per vCPU-hour?
-- After allowances, tiers and packages; before credit and discounts.
with plan_months as (
    select
        period,
        plan_id,
        currency,
        sum(quantity) as vcpu_seconds,
        sum(amount) as revenue
    from billing.invoice_lines
    where meter_id = 'vcpu' and line_type = 'usage'
    group by all
)

select
    period,
    plan_id,
    currency,
    -- Tenths of an hour, rounded half away from 0: whole numbers, since a division gives a binary number.
    sign(vcpu_seconds) * (cast(floor(abs(vcpu_seconds) + 180) as hugeint) // 360) * 0.1 as vcpu_hours,
    revenue,
    cast(revenue * 3600 / nullif(vcpu_seconds, 0) as decimal(18, 6)) as revenue_per_vcpu_hour
from plan_months
order by all
