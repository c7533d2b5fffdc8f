-- Billing rules, section 5: a rating group is customer x service month x plan x rate version x meter: what was used in it, and what of
-- that lies above its allowance. A group in which nothing was used is here too: a tier's flat fee may be due for it. What was used in a
-- trial is in the quantity, and owes nothing: it takes no part of the allowance or of the tiers.
with

used as (

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

-- The allowance is a level: it is free for every second on that plan and rate version outside of a trial, used or not.
time_on_rate as (

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
        time_on_rate.customer_id,
        time_on_rate.period,
        time_on_rate.currency,
        time_on_rate.plan_id,
        time_on_rate.meter_id,
        time_on_rate.rate_id,
        cast(time_on_rate.first_starts_at as date) as first_date,
        cast(coalesce(used.quantity, 0) as decimal(38, 12)) as quantity,
        cast(coalesce(used.trial_quantity, 0) as decimal(38, 12)) as trial_quantity,
        time_on_rate.is_trial,
        {{ to_unit_seconds(unit_microseconds('rates.allowance_level', 'time_on_rate.duration_microseconds')) }}
            as allowance_quantity,
        rates.charge_model,
        rates.unit_amount,
        rates.package_size
    from time_on_rate
    inner join {{ ref('rates') }} as rates on time_on_rate.rate_id = rates.rate_id
    left join used
        on
            time_on_rate.customer_id = used.customer_id
            and time_on_rate.period = used.period
            and time_on_rate.currency = used.currency
            and time_on_rate.plan_id = used.plan_id
            and time_on_rate.meter_id = used.meter_id
            and time_on_rate.rate_id = used.rate_id

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
