-- Closed usage lines by day, as they were billed. Append-only.
select
    invoice_id,
    line_id,
    customer_id,
    period,
    usage_date,
    currency,
    plan_id,
    meter_id,
    rate_id,
    quantity,
    unit,
    amount
from {{ source('closes', 'usage_days') }}
where period in (select period from {{ ref('stg_closes') }})
