select
    customer_id,
    grant_id,
    period,
    currency,
    source,
    opening_amount,
    granted_amount,
    applied_amount,
    expired_amount,
    voided_amount,
    closing_amount
from {{ ref('credit_months') }}
