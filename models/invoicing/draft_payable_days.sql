-- Billing rules, section 6: what of a draft credit may pay up to each day, usage and other lines apart, after discounts. A
-- negative amount lowers the days before it, latest first: so a day's payable amount is the minimum of the sums up to it and up
-- to every later day.
with

days as (

    select
        customer_id,
        currency,
        period,
        payable_date,
        sum(own_usage_amount) as own_usage_amount,
        sum(own_discount_amount) as own_discount_amount,
        sum(usage_amount) as usage_amount,
        sum(other_amount) as other_amount
    from {{ ref('draft_payable_amounts') }}
    group by customer_id, currency, period, payable_date

),

running_sums as (

    select
        days.customer_id,
        days.currency,
        days.period,
        days.payable_date,
        sum(days.own_usage_amount) over up_to_day * units.minor_units_per_unit as own_minor_units,
        sum(days.own_usage_amount) over whole_month * units.minor_units_per_unit as month_minor_units,
        sum(days.own_discount_amount) over whole_month * units.minor_units_per_unit as discount_minor_units,
        sum(days.usage_amount) over up_to_day as usage_amount,
        sum(days.other_amount) over up_to_day as other_amount,
        units.minor_unit_digits
    from days
    inner join {{ ref('currency_units') }} as units on days.currency = units.currency
    window
        up_to_day as (
            partition by days.customer_id, days.currency, days.period order by days.payable_date
            rows between unbounded preceding and current row
        ),
        whole_month as (partition by days.customer_id, days.currency, days.period)

),

-- Usage up to a day less its share of the discount: the month's discount x usage up to the day / usage of the month. On the last
-- day it is exactly the month's.
discounted_days as (

    select
        customer_id,
        currency,
        period,
        payable_date,
        other_amount,
        usage_amount + {{ from_minor_units(
            'case when month_minor_units > 0 then '
            ~ divide_down(
                'cast(own_minor_units as decimal(38, 0)) * cast(month_minor_units + discount_minor_units as decimal(38, 0))',
                'cast(month_minor_units as decimal(38, 0))'
            ) ~ ' else cast(discount_minor_units as decimal(38, 0)) end',
            'minor_unit_digits'
        ) }} as usage_amount
    from running_sums

)

select
    customer_id,
    currency,
    period,
    payable_date,
    cast(min(usage_amount) over from_day_on as decimal(18, 3)) as usage_amount,
    cast(min(other_amount) over from_day_on as decimal(18, 3)) as other_amount
from discounted_days
window
    from_day_on as (
        partition by customer_id, currency, period order by payable_date
        rows between current row and unbounded following
    )
