-- Billing rules, section 5: one line per rating group with a quantity or an amount: the sum of its tiers, rounded once.
with

charge_sums as (

    select
        customer_id,
        period,
        currency,
        plan_id,
        meter_id,
        rate_id,
        sum(amount) as amount
    from {{ ref('tier_charges') }}
    group by customer_id, period, currency, plan_id, meter_id, rate_id

),

lines as (

    select
        groups.customer_id,
        groups.period as service_period,
        groups.currency,
        groups.plan_id,
        groups.meter_id,
        groups.rate_id,
        groups.quantity,
        groups.billable_quantity,
        groups.unit_amount,
        {{ to_minor_units('coalesce(charge_sums.amount, 0)', 'currencies.minor_units_per_unit') }} as minor_units,
        currencies.minor_unit_digits
    from {{ ref('rating_groups') }} as groups
    -- A group that is all trial has no tier charges.
    left join charge_sums
        on
            groups.customer_id = charge_sums.customer_id
            and groups.period = charge_sums.period
            and groups.currency = charge_sums.currency
            and groups.plan_id = charge_sums.plan_id
            and groups.meter_id = charge_sums.meter_id
            and groups.rate_id = charge_sums.rate_id
    inner join {{ ref('currency_units') }} as currencies on groups.currency = currencies.currency

)

select
    customer_id,
    service_period,
    service_period as due_period,
    'usage' as line_type,
    currency,
    plan_id,
    meter_id,
    rate_id,
    quantity,
    billable_quantity,
    cast(unit_amount as decimal(38, 12)) as unit_amount,
    minor_units,
    minor_unit_digits
from lines
where quantity <> 0 or minor_units <> 0
