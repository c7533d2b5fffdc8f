-- Billing rules, section 1: an invoice is the difference between what is due and what has been billed. One mechanism for a
-- month's first invoice, for late events, for corrected plans and for corrected rates.
with

movements as (

    select
        customer_id,
        service_period,
        line_type,
        currency,
        plan_id,
        meter_id,
        rate_id,
        quantity,
        billable_quantity,
        unit_amount,
        amount
    from {{ ref('due_lines') }}

    union all

    select
        customer_id,
        service_period,
        line_type,
        currency,
        plan_id,
        meter_id,
        rate_id,
        -quantity as quantity,
        -billable_quantity as billable_quantity,
        unit_amount,
        -amount as amount
    from {{ ref('stg_billed_lines') }}

),

differences as (

    select
        customer_id,
        service_period,
        line_type,
        currency,
        plan_id,
        meter_id,
        rate_id,
        cast(sum(quantity) as decimal(38, 12)) as quantity,
        cast(sum(billable_quantity) as decimal(38, 12)) as billable_quantity,
        max(unit_amount) as unit_amount,
        cast(sum(amount) as decimal(18, 3)) as amount
    from movements
    group by customer_id, service_period, line_type, currency, plan_id, meter_id, rate_id

)

select
    differences.*,
    greatest(differences.service_period, coalesce(open_period.first_open_period, differences.service_period)) as period,
    coalesce(differences.service_period <= open_period.closed_through_period, false) as is_adjustment
from differences
cross join {{ ref('open_period') }} as open_period
where differences.quantity <> 0 or differences.amount <> 0
