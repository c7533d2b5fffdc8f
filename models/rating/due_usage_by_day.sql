{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_customer_months() }}"
) }}
-- Billing rules, section 2: the amount of a usage line spread over its days in proportion to their quantities. The days sum to
-- the line exactly: each gets whole minor units, and the rest goes to the largest remainders, one unit each (ties: the earlier
-- day).
with

-- Trial usage is in the quantity, and has no share of the amount.
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
        days.quantity - days.trial_quantity as billed_quantity
    from {{ ref('usage_by_day') }} as days
    {{ only_dirty_customer_months('days') }}

),

-- A flat fee without usage is on the first day of its rating group outside a trial.
first_days as (

    select
        groups.customer_id,
        groups.period,
        groups.first_date as usage_date,
        groups.currency,
        groups.plan_id,
        groups.meter_id,
        groups.rate_id,
        cast(0 as decimal(38, 12)) as quantity,
        cast(0 as decimal(38, 12)) as billed_quantity
    from {{ ref('rating_groups') }} as groups
    {{ only_dirty_customer_months('groups') }}
    where groups.quantity = groups.trial_quantity and not groups.is_trial

),

days as (

    select
        customer_id,
        period,
        usage_date,
        currency,
        plan_id,
        meter_id,
        rate_id,
        sum(quantity) as quantity,
        sum(billed_quantity) as billed_quantity
    from (
        select * from used_days
        union all
        select * from first_days
    ) as all_days
    group by customer_id, period, usage_date, currency, plan_id, meter_id, rate_id

),

-- Weights are integers (units of the 12th decimal), so that the division below is exact.
weighted_days as (

    select
        days.customer_id,
        days.period,
        days.usage_date,
        days.currency,
        days.plan_id,
        days.meter_id,
        days.rate_id,
        cast(days.quantity as decimal(38, 12)) as quantity,
        case
            when groups.quantity > groups.trial_quantity
                then cast(days.billed_quantity * cast(1000000000000 as decimal(13, 0)) as decimal(38, 0))
            when days.usage_date = groups.first_date then cast(1 as decimal(38, 0))
            else cast(0 as decimal(38, 0))
        end as day_weight,
        case
            when groups.quantity > groups.trial_quantity
                then cast(
                    (groups.quantity - groups.trial_quantity) * cast(1000000000000 as decimal(13, 0)) as decimal(38, 0)
                )
            else cast(1 as decimal(38, 0))
        end as line_weight,
        lines.minor_units as line_minor_units,
        lines.minor_unit_digits
    from days
    inner join {{ ref('rating_groups') }} as groups
        on
            days.customer_id = groups.customer_id
            and days.period = groups.period
            and days.currency = groups.currency
            and days.plan_id = groups.plan_id
            and days.meter_id = groups.meter_id
            and days.rate_id = groups.rate_id
    inner join {{ ref('due_usage_lines') }} as lines
        on
            days.customer_id = lines.customer_id
            and days.period = lines.service_period
            and days.currency = lines.currency
            and days.plan_id = lines.plan_id
            and days.meter_id = lines.meter_id
            and days.rate_id = lines.rate_id
    -- A first day without usage has a row only if its flat fee is above 0.
    where days.quantity <> 0 or lines.minor_units <> 0

),

shares as (

    select
        *,
        cast({{ divide_down('line_minor_units * day_weight', 'line_weight') }} as decimal(38, 0)) as whole_minor_units
    from weighted_days

),

ranked_shares as (

    select
        *,
        line_minor_units - sum(whole_minor_units) over line as rest_minor_units,
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
        'whole_minor_units + case when remainder_rank <= rest_minor_units then 1 else 0 end', 'minor_unit_digits'
    ) }} as amount
from ranked_shares
