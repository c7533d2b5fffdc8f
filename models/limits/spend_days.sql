{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_customer_months() }}"
) }}
-- Billing rules, section 8: month-to-date spend by day: usage on its day, a fee on the first day that it is due for, both less the contract's
-- discount. Before credit, and without commitments and corrections of other months.
with

usage_days as (

    select
        days.customer_id,
        days.currency,
        days.period,
        days.usage_date as spend_date,
        cast(sum(days.amount) as decimal(18, 3)) as usage_amount,
        cast(0 as decimal(18, 3)) as fee_amount
    from {{ ref('due_usage_by_day') }} as days
    {{ only_dirty_customer_months('days') }}
    group by days.customer_id, days.currency, days.period, days.usage_date

),

first_fee_days as (

    select
        customer_id,
        currency,
        period,
        price_id as rate_id,
        plan_id,
        -- Nothing is due for a trial: the fee's first day is after it, unless the whole month is a trial.
        cast(coalesce(min(case when not is_trial then starts_at end), min(starts_at)) as date) as spend_date
    from {{ ref('customer_price_periods') }}
    where price_kind = 'fee'
    group by customer_id, currency, period, price_id, plan_id

),

fee_days as (

    select
        lines.customer_id,
        lines.currency,
        lines.service_period as period,
        first_fee_days.spend_date,
        cast(0 as decimal(18, 3)) as usage_amount,
        cast(sum(lines.amount) as decimal(18, 3)) as fee_amount
    from {{ ref('due_lines') }} as lines
    inner join first_fee_days
        on
            lines.customer_id = first_fee_days.customer_id
            and lines.currency = first_fee_days.currency
            and lines.service_period = first_fee_days.period
            and lines.plan_id = first_fee_days.plan_id
            and lines.rate_id = first_fee_days.rate_id
    {{ only_dirty_customer_months('lines', 'service_period') }}
    where
        lines.line_type = 'fee'
        -- A fee in advance of a month that has not begun is not spend yet.
        and lines.service_period <= (select current_period from {{ ref('stg_build_inputs') }})
    group by lines.customer_id, lines.currency, lines.service_period, first_fee_days.spend_date

),

days as (

    select
        customer_id,
        currency,
        period,
        spend_date,
        cast(sum(usage_amount) as decimal(18, 3)) as usage_amount,
        cast(sum(fee_amount) as decimal(18, 3)) as fee_amount
    from (
        select * from usage_days
        union all
        select * from fee_days
    ) as spent
    group by customer_id, currency, period, spend_date

),

discounts as (

    select
        customer_id,
        currency,
        service_period as period,
        sum(amount) as discount_amount
    from {{ ref('due_lines') }}
    where line_type = 'discount'
    group by customer_id, currency, service_period

),

month_to_date as (

    select
        days.customer_id,
        days.currency,
        days.period,
        days.spend_date,
        days.usage_amount,
        days.fee_amount,
        units.minor_unit_digits,
        sum(days.usage_amount + days.fee_amount) over so_far * units.minor_units_per_unit as so_far_minor_units,
        sum(days.usage_amount + days.fee_amount) over whole_month * units.minor_units_per_unit as month_minor_units,
        coalesce(discounts.discount_amount, 0) * units.minor_units_per_unit as discount_minor_units
    from days
    inner join {{ ref('currency_units') }} as units on days.currency = units.currency
    left join discounts
        on
            days.customer_id = discounts.customer_id
            and days.currency = discounts.currency
            and days.period = discounts.period
    window
        so_far as (
            partition by days.customer_id, days.currency, days.period order by days.spend_date
            rows between unbounded preceding and current row
        ),
        whole_month as (partition by days.customer_id, days.currency, days.period)

)

select
    customer_id,
    currency,
    period,
    spend_date,
    usage_amount,
    fee_amount,
    -- The discount in proportion to spend so far, cut to the minor unit: on the last day it is the month's discount exactly.
    {{ from_minor_units(
        'case when month_minor_units > 0 then '
        ~ divide_down(
            'cast(so_far_minor_units as decimal(38, 0)) * cast(month_minor_units + discount_minor_units as decimal(38, 0))',
            'cast(month_minor_units as decimal(38, 0))'
        ) ~ ' else 0 end',
        'minor_unit_digits'
    ) }} as month_to_date_amount
from month_to_date
