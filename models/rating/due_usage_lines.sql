-- Billing rules, section 5: a rating group is customer x service month x plan x rate version x meter. What lies within the
-- group's allowance is free; the rest is priced, and rounded once.
with

used as (

    select
        customer_id,
        period,
        currency,
        plan_id,
        meter_id,
        rate_id,
        sum(quantity) as quantity
    from {{ ref('usage_by_day') }}
    group by customer_id, period, currency, plan_id, meter_id, rate_id

),

-- The allowance is a level: it is free for every second on that plan and rate version, used or not.
allowed_time as (

    select
        customer_id,
        period,
        currency,
        plan_id,
        meter_id,
        price_id as rate_id,
        sum(duration_microseconds) as duration_microseconds
    from {{ ref('customer_price_periods') }}
    where price_kind = 'rate'
    group by customer_id, period, currency, plan_id, meter_id, price_id

),

groups as (

    select
        used.customer_id,
        used.period,
        used.currency,
        used.plan_id,
        used.meter_id,
        used.rate_id,
        cast(used.quantity as decimal(38, 12)) as quantity,
        {{ to_unit_seconds(unit_microseconds('rates.allowance_level', 'allowed_time.duration_microseconds')) }}
            as allowance_quantity,
        cast(rates.unit_amount as decimal(38, 12)) as unit_amount,
        currencies.minor_unit_digits,
        currencies.minor_units_per_unit
    from used
    inner join allowed_time
        on
            used.customer_id = allowed_time.customer_id
            and used.period = allowed_time.period
            and used.currency = allowed_time.currency
            and used.plan_id = allowed_time.plan_id
            and used.meter_id = allowed_time.meter_id
            and used.rate_id = allowed_time.rate_id
    inner join {{ ref('rates') }} as rates on used.rate_id = rates.rate_id
    inner join {{ ref('currency_units') }} as currencies on used.currency = currencies.currency

),

billable as (

    select
        *,
        greatest(quantity - allowance_quantity, cast(0 as decimal(38, 12))) as billable_quantity
    from groups

)

select
    customer_id,
    period as service_period,
    'usage' as line_type,
    currency,
    plan_id,
    meter_id,
    rate_id,
    quantity,
    billable_quantity,
    unit_amount,
    {{ to_minor_units(exact_product('billable_quantity', 'unit_amount'), 'minor_units_per_unit') }} as minor_units,
    minor_unit_digits
from billable
