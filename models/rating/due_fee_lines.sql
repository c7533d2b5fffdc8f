-- Billing rules, section 5: a fee is prorated by the microsecond: fee x time on the plan in the month / length of the month.
-- One line per customer, service month, plan and fee version: the times of several stays are added, then rounded once.
-- Time in a trial is in the quantity, and not in the billable quantity.
-- A fee in advance is due at the close of the month before, for customers that are on the plan when its own month begins. Nothing is due before
-- the books open: the first month's fee is due in that month.
with

stays as (

    select
        customer_id,
        period,
        currency,
        plan_id,
        price_id as fee_id,
        min(starts_at) as first_starts_at,
        sum(duration_microseconds) as duration_microseconds,
        sum(case when is_trial then 0 else duration_microseconds end) as billable_microseconds
    from {{ ref('customer_price_periods') }}
    where price_kind = 'fee'
    group by customer_id, period, currency, plan_id, price_id

),

months as (

    select
        *,
        cast(period || '-01 00:00:00' as timestamp) as month_starts_at
    from stays

),

fees as (

    select
        months.customer_id,
        months.period,
        months.currency,
        months.plan_id,
        months.fee_id,
        months.duration_microseconds,
        months.billable_microseconds,
        {{ microseconds_between('months.month_starts_at', "(months.month_starts_at + interval 1 month)") }}
            as month_microseconds,
        plan_fees.monthly_fee_amount,
        plan_fees.fee_timing = 'advance'
        and months.first_starts_at = months.month_starts_at
        and months.month_starts_at > build.books_open_at as is_due_in_advance,
        {{ billing_period("(months.month_starts_at - interval 1 microsecond)") }} as previous_period,
        -- A fee has at most 6 decimals: in whole millionths the proration is one division of integers.
        cast(cast(plan_fees.monthly_fee_amount as decimal(18, 6)) * 1000000 as decimal(18, 0)) as monthly_fee_millionths,
        currencies.minor_unit_digits,
        currencies.minor_units_per_unit
    from months
    inner join {{ ref('plan_fees') }} as plan_fees on months.fee_id = plan_fees.fee_id
    inner join {{ ref('currency_units') }} as currencies on months.currency = currencies.currency
    cross join {{ ref('stg_build_inputs') }} as build
    where plan_fees.monthly_fee_amount <> 0

),

due_fees as (

    select
        *,
        case when is_due_in_advance then previous_period else period end as due_period
    from fees

)

select
    customer_id,
    period as service_period,
    due_period,
    'fee' as line_type,
    currency,
    plan_id,
    cast(null as string) as meter_id,
    fee_id as rate_id,
    {{ to_unit_seconds("duration_microseconds") }} as quantity,
    {{ to_unit_seconds("billable_microseconds") }} as billable_quantity,
    cast(monthly_fee_amount as decimal(38, 12)) as unit_amount,
    cast(
        {{ divide_rounding_half_away(
            'cast(monthly_fee_millionths as decimal(38, 0)) * minor_units_per_unit * billable_microseconds',
            'cast(month_microseconds as decimal(38, 0)) * 1000000'
        ) }} as decimal(38, 0)
    ) as minor_units,
    minor_unit_digits
from due_fees
where due_period <= (select current_period from {{ ref('stg_build_inputs') }})
