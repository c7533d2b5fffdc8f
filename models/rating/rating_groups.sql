-- Billing rules, section 5: a rating group is customer x service month x plan x rate version x meter. Its billable quantity is
-- the part outside a trial and above the allowance. Groups without usage are included: the flat fee of their first tier may be
-- due.
with

usage_sums as (

    select
        customer_id,
        period,
        currency,
        plan_id,
        meter_id,
        rate_id,
        sum(quantity) as quantity,
        sum(trial_quantity) as trial_quantity
    from {{ ref('usage_by_day') }}
    group by customer_id, period, currency, plan_id, meter_id, rate_id

),

-- The allowance is a level, free for every second on the plan and rate version outside a trial, with or without usage.
rate_times as (

    select
        customer_id,
        period,
        currency,
        plan_id,
        meter_id,
        price_id as rate_id,
        coalesce(min(case when not is_trial then starts_at end), min(starts_at)) as first_starts_at,
        sum(case when is_trial then 0 else duration_microseconds end) as duration_microseconds,
        min(case when is_trial then 1 else 0 end) = 1 as is_trial
    from {{ ref('customer_price_periods') }}
    where
        price_kind = 'rate'
        and period <= (select current_period from {{ ref('stg_build_inputs') }})
    group by customer_id, period, currency, plan_id, meter_id, price_id

),

groups as (

    select
        rate_times.customer_id,
        rate_times.period,
        rate_times.currency,
        rate_times.plan_id,
        rate_times.meter_id,
        rate_times.rate_id,
        cast(rate_times.first_starts_at as date) as first_date,
        cast(coalesce(usage_sums.quantity, 0) as decimal(38, 12)) as quantity,
        cast(coalesce(usage_sums.trial_quantity, 0) as decimal(38, 12)) as trial_quantity,
        rate_times.is_trial,
        {{ to_unit_seconds(unit_microseconds('rates.allowance_level', 'rate_times.duration_microseconds')) }}
            as allowance_quantity,
        rates.charge_model,
        rates.unit_amount,
        rates.package_size
    from rate_times
    inner join {{ ref('rates') }} as rates on rate_times.rate_id = rates.rate_id
    left join usage_sums
        on
            rate_times.customer_id = usage_sums.customer_id
            and rate_times.period = usage_sums.period
            and rate_times.currency = usage_sums.currency
            and rate_times.plan_id = usage_sums.plan_id
            and rate_times.meter_id = usage_sums.meter_id
            and rate_times.rate_id = usage_sums.rate_id

)

select
    customer_id,
    period,
    currency,
    plan_id,
    meter_id,
    rate_id,
    first_date,
    quantity,
    trial_quantity,
    is_trial,
    allowance_quantity,
    greatest(quantity - trial_quantity - allowance_quantity, cast(0 as decimal(38, 12))) as billable_quantity,
    charge_model,
    unit_amount,
    package_size
from groups
