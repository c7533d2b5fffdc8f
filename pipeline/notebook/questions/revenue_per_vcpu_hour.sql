-- What is the effective revenue per vCPU-hour?
-- After allowances, tiers and packages; before credit and discounts.
select
    period,
    plan_id,
    currency,
    round(sum(quantity) / 3600, 1) as vcpu_hours,
    sum(amount) as revenue,
    round(sum(amount) / nullif(sum(quantity) / 3600, 0), 6) as revenue_per_vcpu_hour
from billing.invoice_lines
where meter_id = 'vcpu' and line_type = 'usage'
group by all
order by all
