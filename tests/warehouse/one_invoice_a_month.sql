-- Fails if a customer has two invoices of one month in one currency: it would be billed twice.
select
    customer_id,
    period,
    currency,
    count(*) as invoices
from {{ ref('invoices') }}
group by customer_id, period, currency
having count(*) > 1
