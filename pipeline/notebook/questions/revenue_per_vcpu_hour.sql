-- What is the effective revenue per vCPU-hour?
-- After allowances, tiers and packages; before credit and discounts.
select
    period,
    plan_id,
    currency,
    cast(sum(quantity) / 3600 as decimal(38, 1)) as vcpu_hours,
    sum(amount) as revenue,
    cast(sum(amount) * 3600 / nullif(sum(quantity), 0) as decimal(18, 6)) as revenue_per_vcpu_hour
from billing.invoice_lines
where meter_id = 'vcpu' and line_type = 'usage'
group by all
order by all
