-- Billing rules, section 1: the lines that are due as of the build: a pure function of events, records and price book.
with

lines as (

    select * from {{ ref('due_usage_lines') }}
    union all
    select * from {{ ref('due_fee_lines') }}
    union all
    select * from {{ ref('due_contract_lines') }}

)

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
    {{ from_minor_units('minor_units', 'minor_unit_digits') }} as amount
from lines
