-- Lines of closed invoices. Append-only.
select
    invoice_id,
    line_id,
    line_number,
    customer_id,
    period,
    service_period,
    line_type,
    plan_id,
    meter_id,
    rate_id,
    quantity,
    unit,
    unit_amount,
    billable_quantity,
    amount,
    currency,
    description,
    is_adjustment
from {{ source('closes', 'invoice_lines') }}
where period in (select period from {{ ref('stg_closes') }})
