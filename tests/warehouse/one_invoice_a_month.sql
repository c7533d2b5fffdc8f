-- Fails if a customer has two invoices for one month and currency: it would be billed twice.
select
    customer_id,
    period,
    currency,
    count(*) as invoices
from {{ ref('invoices') }}
group by customer_id, period, currency
having count(*) > 1
