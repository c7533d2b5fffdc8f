{{ config(
    materialized='kept' if target.type == 'duckdb' else 'table',
    pre_hook="{{ forget_changed_months() }}"
) }}
-- Billing rules, section 2: a line's amount spread over its days, in proportion to their quantities, so that the days sum back
-- to the line exactly: whole minor units first, what is left over to the largest remainders (ties: the earlier day).
with

used_days as (

    select
        days.customer_id,
        days.period,
        days.usage_date,
        days.currency,
        days.plan_id,
        days.meter_id,
        days.rate_id,
        days.quantity,
        -- Both as whole numbers of the 12th decimal, so that the division below is one of integers.
        cast(days.quantity * cast(1000000000000 as decimal(13, 0)) as decimal(38, 0)) as day_weight,
        cast(lines.quantity * cast(1000000000000 as decimal(13, 0)) as decimal(38, 0)) as line_weight,
        lines.minor_units as line_minor_units,
        lines.minor_unit_digits
    from {{ ref('usage_by_day') }} as days
    {{ of_changed_months('days') }}
    inner join {{ ref('due_usage_lines') }} as lines
        on
            days.customer_id = lines.customer_id
            and days.period = lines.service_period
            and days.currency = lines.currency
            and days.plan_id = lines.plan_id
            and days.meter_id = lines.meter_id
            and days.rate_id = lines.rate_id

),

-- A flat fee that is due without any use is shown on the first day of its group.
unused_days as (

    select
        lines.customer_id,
        lines.service_period as period,
        groups.first_date as usage_date,
        lines.currency,
        lines.plan_id,
        lines.meter_id,
        lines.rate_id,
        lines.quantity,
        cast(1 as decimal(38, 0)) as day_weight,
        cast(1 as decimal(38, 0)) as line_weight,
        lines.minor_units as line_minor_units,
        lines.minor_unit_digits
    from {{ ref('due_usage_lines') }} as lines
    {{ of_changed_months('lines', 'service_period') }}
    inner join {{ ref('rating_groups') }} as groups
        on
            lines.customer_id = groups.customer_id
            and lines.service_period = groups.period
            and lines.currency = groups.currency
            and lines.plan_id = groups.plan_id
            and lines.meter_id = groups.meter_id
            and lines.rate_id = groups.rate_id
    where lines.quantity = 0

),

days as (

    select * from used_days
    union all
    select * from unused_days

),

shares as (

    select
        *,
        cast({{ divide_down('line_minor_units * day_weight', 'line_weight') }} as decimal(38, 0)) as whole_minor_units
    from days

),

ranked as (

    select
        *,
        line_minor_units - sum(whole_minor_units) over line as left_over_minor_units,
        row_number() over (
            partition by customer_id, period, currency, plan_id, meter_id, rate_id
            order by line_minor_units * day_weight - whole_minor_units * line_weight desc, usage_date
        ) as remainder_rank
    from shares
    window line as (partition by customer_id, period, currency, plan_id, meter_id, rate_id)

)

select
    customer_id,
    period,
    usage_date,
    currency,
    plan_id,
    meter_id,
    rate_id,
    quantity,
    {{ from_minor_units(
        'whole_minor_units + case when remainder_rank <= left_over_minor_units then 1 else 0 end', 'minor_unit_digits'
    ) }} as amount
from ranked
