-- Billing rules, section 1: an invoice is the difference between what is due and what has been billed. One mechanism for a
-- month's first invoice, for late events, corrected plans and corrected rates, and for fees that were billed in advance.
with

movements as (

    select
        customer_id,
        service_period,
        due_period,
        line_type,
        currency,
        plan_id,
        meter_id,
        rate_id,
        quantity,
        billable_quantity,
        unit_amount,
        amount,
        false as is_billed
    from {{ ref('due_lines') }}

    union all

    select
        customer_id,
        service_period,
        null as due_period,
        line_type,
        currency,
        plan_id,
        meter_id,
        rate_id,
        -quantity as quantity,
        -billable_quantity as billable_quantity,
        unit_amount,
        -amount as amount,
        true as is_billed
    from {{ ref('billed_amounts') }}

),

differences as (

    select
        customer_id,
        service_period,
        coalesce(min(due_period), service_period) as due_period,
        line_type,
        currency,
        plan_id,
        meter_id,
        rate_id,
        cast(sum(quantity) as decimal(38, 12)) as quantity,
        cast(sum(billable_quantity) as decimal(38, 12)) as billable_quantity,
        -- The price of what is due; where nothing is any more, the one it was billed at.
        coalesce(max(case when not is_billed then unit_amount end), max(unit_amount)) as unit_amount,
        cast(sum(amount) as decimal(18, 3)) as amount,
        max(case when is_billed then 1 else 0 end) = 1 as was_billed
    from movements
    group by customer_id, service_period, line_type, currency, plan_id, meter_id, rate_id

)

select
    differences.customer_id,
    differences.service_period,
    differences.line_type,
    differences.currency,
    differences.plan_id,
    differences.meter_id,
    differences.rate_id,
    differences.quantity,
    differences.billable_quantity,
    differences.unit_amount,
    differences.amount,
    greatest(differences.due_period, coalesce(open_period.first_open_period, differences.due_period)) as period,
    differences.was_billed
    or coalesce(differences.service_period <= open_period.closed_through_period, false) as is_adjustment
from differences
cross join {{ ref('open_period') }} as open_period
where differences.quantity <> 0 or differences.amount <> 0
