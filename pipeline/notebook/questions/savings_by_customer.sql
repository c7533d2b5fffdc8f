-- What would smaller sizes save each customer?
-- At most, if each sandbox had each day the size that fits that day: vCPU and memory at list rates, of days with samples for at least
-- half of the billed time. counted_vcpu_percent is the share of the customer's vCPU-seconds that these sandboxes and days have, from the
-- first to the last of the days: the rest is not measured. How it is computed, and its limits: docs/internals/utilisation.md
with savings as (
    select
        customer_id,
        currency,
        count(distinct sandbox_id) as sandboxes,
        sum(list_amount) as list_amount,
        sum(fitting_list_amount) as fitting_list_amount,
        sum(vcpu_seconds) as counted_vcpu_seconds,
        min(usage_date) as first_day,
        max(usage_date) as last_day
    from billing.utilisation_daily
    where sampled_minutes * 120 >= billed_seconds
    group by customer_id, currency
),

usages as (
    select
        savings.customer_id,
        savings.currency,
        sum(days.quantity) as vcpu_seconds
    from savings
    inner join billing.usage_daily as days using (customer_id, currency)
    where days.meter_id = 'vcpu' and days.usage_date between savings.first_day and savings.last_day
    group by savings.customer_id, savings.currency
)

select
    savings.customer_id,
    savings.currency,
    savings.sandboxes,
    cast(100 * savings.counted_vcpu_seconds / nullif(usages.vcpu_seconds, 0) as decimal(18, 1)) as counted_vcpu_percent,
    savings.list_amount,
    savings.fitting_list_amount,
    savings.list_amount - savings.fitting_list_amount as could_save_at_most_amount,
    cast(
        100 * (savings.list_amount - savings.fitting_list_amount) / nullif(savings.list_amount, 0) as decimal(18, 1)
    ) as could_save_percent
from savings
left join usages using (customer_id, currency)
order by could_save_at_most_amount desc, savings.customer_id
limit 20
