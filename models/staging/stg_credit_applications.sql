-- Credit applications of closed invoices. Append-only.
select
    grant_id,
    invoice_id,
    customer_id,
    period,
    application_period,
    currency,
    source,
    amount
from {{ source('closes', 'credit_applications') }}
where period in (select period from {{ ref('stg_closes') }})
