-- Billing rules, section 8: month-to-date spend after each day, of customers with a monthly spend limit.
select
    days.customer_id,
    'monthly_spend' as limit_kind,
    days.period,
    cast(accounts.monthly_spend_limit_amount as decimal(38, 12)) as allowed,
    cast(days.month_to_date_amount as decimal(38, 12)) as observed,
    days.currency as unit,
    -- Billing rules, section 8: spend counts from the end of its day, in a running month at the latest from as_of.
    least(build.as_of, cast(days.spend_date as timestamp) + interval 1 day) as observed_at
from {{ ref('spend_days') }} as days
inner join {{ ref('customer_accounts') }} as accounts on days.customer_id = accounts.customer_id
inner join {{ ref('customer_currencies') }} as currencies
    on
        days.customer_id = currencies.customer_id
        and days.currency = currencies.currency
        and cast(days.period || '-01 00:00:00' as timestamp) >= currencies.starts_at
        and cast(days.period || '-01 00:00:00' as timestamp) < currencies.ends_at
cross join {{ ref('stg_build_inputs') }} as build
where accounts.monthly_spend_limit_amount is not null and days.month_to_date_amount > 0
