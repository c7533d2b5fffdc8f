-- Billing rules, section 1: billed lines are those of closed invoices and the (negative) ones of credit notes. A carry-forward
-- moves an amount between invoices and bills nothing: draft_credit_states settles it.
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
from {{ ref('stg_billed_lines') }}
where line_type <> 'carry_forward'

union all

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
from {{ ref('stg_credit_note_lines') }}
