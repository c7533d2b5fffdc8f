-- How much do the new customers of a month use in the months after?
-- A cohort is the month in which a customer was first seen. A customer is active in a month with usage.
with cohorts as (
    select
        customer_id,
        strftime(first_seen_at at time zone 'UTC', '%Y-%m') as cohort
    from billing.customers
),

active as (
    select
        customer_id,
        period,
        currency,
        sum(amount) as usage_amount
    from billing.usage_daily
    group by all
)

select
    cohorts.cohort,
    active.period,
    active.currency,
    count(distinct active.customer_id) as active_customers,
    sum(active.usage_amount) as usage_amount
from cohorts
inner join active using (customer_id)
group by all
order by all
