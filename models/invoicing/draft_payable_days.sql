-- Billing rules, section 6: what of each open invoice is used or due up to each day, apart for usage and for the rest, after discounts.
-- What corrects a closed month counts as used before all days of the invoice's own month. An amount below zero lessens what is before
-- it, latest first: so that a day's payable amount is the least that the sum up to it, or up to any later day, is.
with

lines as (

    select
        lines.customer_id,
        lines.currency,
        lines.period,
        lines.service_period,
        lines.line_type,
        lines.plan_id,
        lines.meter_id,
        lines.rate_id,
        lines.unit_amount,
        lines.amount,
        lines.line_type = 'usage' and lines.service_period = lines.period and not lines.is_adjustment as has_days,
        cast({{ beginning_of_time() }} as date) as earlier_date,
        cast(
            cast(lines.period || '-01 00:00:00' as timestamp) + interval 1 month - interval 1 day as date
        ) as last_date,
        units.minor_units_per_unit,
        units.minor_unit_digits
    from {{ ref('unbilled_lines') }} as lines
    inner join {{ ref('currency_units') }} as units on lines.currency = units.currency

),

own_usage as (

    select
        lines.customer_id,
        lines.currency,
        lines.period,
        days.usage_date as payable_date,
        days.amount as own_usage_amount
    from lines
    inner join {{ ref('due_usage_by_day') }} as days
        on
            lines.customer_id = days.customer_id
            and lines.service_period = days.period
            and lines.currency = days.currency
            and lines.plan_id = days.plan_id
            and lines.meter_id = days.meter_id
            and lines.rate_id = days.rate_id
    where lines.has_days

),

usage_sums as (

    select
        customer_id,
        currency,
        period,
        service_period,
        sum(amount) as amount
    from lines
    where line_type = 'usage'
    group by customer_id, currency, period, service_period

),

-- The usage part of a discount: its rate times the usage lines of its month on this invoice, and no more than the line itself.
discounts as (

    select
        lines.*,
        {{ from_minor_units(
            divide_rounding_half_away(
                '-1 * cast(coalesce(usage_sums.amount, 0) * lines.minor_units_per_unit as decimal(38, 0))'
                ' * cast(cast(lines.unit_amount as decimal(18, 6)) * cast(1000000 as decimal(7, 0)) as decimal(38, 0))',
                '1000000'
            ),
            'lines.minor_unit_digits'
        ) }} as rated_amount
    from lines
    left join usage_sums
        on
            lines.customer_id = usage_sums.customer_id
            and lines.currency = usage_sums.currency
            and lines.period = usage_sums.period
            and lines.service_period = usage_sums.service_period
    where lines.line_type = 'discount'

),

split_discounts as (

    select
        *,
        greatest(least(amount, 0), least(rated_amount, greatest(amount, 0))) as usage_part_amount
    from discounts

),

fee_starts as (

    select
        customer_id,
        currency,
        period,
        plan_id,
        price_id as rate_id,
        -- A trial owes nothing: its days are not the fee's.
        cast(coalesce(min(case when not is_trial then starts_at end), min(starts_at)) as date) as first_date
    from {{ ref('customer_price_periods') }}
    where price_kind = 'fee'
    group by customer_id, currency, period, plan_id, price_id

),

amounts as (

    select
        customer_id,
        currency,
        period,
        payable_date,
        own_usage_amount,
        cast(0 as decimal(18, 3)) as own_discount_amount,
        cast(0 as decimal(18, 3)) as usage_amount,
        cast(0 as decimal(18, 3)) as other_amount
    from own_usage

    union all

    select
        customer_id,
        currency,
        period,
        earlier_date as payable_date,
        cast(0 as decimal(18, 3)) as own_usage_amount,
        cast(0 as decimal(18, 3)) as own_discount_amount,
        amount as usage_amount,
        cast(0 as decimal(18, 3)) as other_amount
    from lines
    where line_type = 'usage' and not has_days

    union all

    select
        customer_id,
        currency,
        period,
        earlier_date as payable_date,
        cast(0 as decimal(18, 3)) as own_usage_amount,
        case when service_period = period then usage_part_amount else cast(0 as decimal(18, 3)) end as own_discount_amount,
        case when service_period = period then cast(0 as decimal(18, 3)) else usage_part_amount end as usage_amount,
        cast(0 as decimal(18, 3)) as other_amount
    from split_discounts

    union all

    select
        customer_id,
        currency,
        period,
        case when service_period = period then last_date else earlier_date end as payable_date,
        cast(0 as decimal(18, 3)) as own_usage_amount,
        cast(0 as decimal(18, 3)) as own_discount_amount,
        cast(0 as decimal(18, 3)) as usage_amount,
        amount - usage_part_amount as other_amount
    from split_discounts

    union all

    select
        lines.customer_id,
        lines.currency,
        lines.period,
        case
            when lines.service_period < lines.period then lines.earlier_date
            when lines.line_type = 'fee' then coalesce(fee_starts.first_date, cast(lines.service_period || '-01' as date))
            else lines.last_date
        end as payable_date,
        cast(0 as decimal(18, 3)) as own_usage_amount,
        cast(0 as decimal(18, 3)) as own_discount_amount,
        cast(0 as decimal(18, 3)) as usage_amount,
        lines.amount as other_amount
    from lines
    left join fee_starts
        on
            lines.line_type = 'fee'
            and lines.customer_id = fee_starts.customer_id
            and lines.currency = fee_starts.currency
            and lines.service_period = fee_starts.period
            and lines.plan_id = fee_starts.plan_id
            and lines.rate_id = fee_starts.rate_id
    where lines.line_type not in ('usage', 'discount')

),

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
    from amounts
    group by customer_id, currency, period, payable_date

),

so_far as (

    select
        days.customer_id,
        days.currency,
        days.period,
        days.payable_date,
        sum(days.own_usage_amount) over until_here * units.minor_units_per_unit as own_minor_units,
        sum(days.own_usage_amount) over whole_month * units.minor_units_per_unit as month_minor_units,
        sum(days.own_discount_amount) over whole_month * units.minor_units_per_unit as discount_minor_units,
        sum(days.usage_amount) over until_here as usage_amount,
        sum(days.other_amount) over until_here as other_amount,
        units.minor_unit_digits
    from days
    inner join {{ ref('currency_units') }} as units on days.currency = units.currency
    window
        until_here as (
            partition by days.customer_id, days.currency, days.period order by days.payable_date
            rows between unbounded preceding and current row
        ),
        whole_month as (partition by days.customer_id, days.currency, days.period)

),

-- The month's usage less its discount, in proportion: on the last day exactly the month's.
discounted as (

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
    from so_far

)

select
    customer_id,
    currency,
    period,
    payable_date,
    cast(min(usage_amount) over from_here_on as decimal(18, 3)) as usage_amount,
    cast(min(other_amount) over from_here_on as decimal(18, 3)) as other_amount
from discounted
window
    from_here_on as (
        partition by customer_id, currency, period order by payable_date
        rows between current row and unbounded following
    )
