-- Closed invoices, as they were at the close. Append-only.
select
    invoice_id,
    customer_id,
    period,
    currency,
    plan_id,
    collection,
    subtotal_amount,
    credits_applied_amount,
    carried_forward_amount,
    total_amount,
    line_count,
    minor_unit_digits,
    customer_name,
    customer_email,
    stripe_customer_id,
    {{ to_utc('closed_at') }} as closed_at
from {{ source('closes', 'invoices') }}
where period in (select period from {{ ref('stg_closes') }})
