select
    grant_id,
    invoice_id,
    customer_id,
    period,
    application_period,
    currency,
    source,
    amount
from {{ ref('draft_credit_applications') }}

union all

select
    grant_id,
    invoice_id,
    customer_id,
    period,
    application_period,
    currency,
    source,
    amount
from {{ ref('stg_credit_applications') }}
