-- Billing rules, section 1: what has been billed. The lines of closed invoices, and, negative, what credit notes gave back of them.
-- What was carried forward is no billing: the credits' models settle it.
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
