-- Billing rules, section 1. Fails if billed lines, credit notes and draft lines do not sum to the due lines, line key by line key: something
-- would be billed twice or never.
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
        amount,
        quantity
    from {{ ref('invoice_lines') }}
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
        amount,
        quantity
    from {{ ref('credit_note_lines') }}

    union all

    select
        customer_id,
        service_period,
        line_type,
        currency,
        plan_id,
        meter_id,
        rate_id,
        -amount as amount,
        -quantity as quantity
    from {{ ref('due_lines') }}

)

select
    customer_id,
    service_period,
    line_type,
    currency,
    plan_id,
    meter_id,
    rate_id,
    sum(amount) as amount,
    sum(quantity) as quantity
from movements
group by customer_id, service_period, line_type, currency, plan_id, meter_id, rate_id
having sum(amount) <> 0 or sum(quantity) <> 0
