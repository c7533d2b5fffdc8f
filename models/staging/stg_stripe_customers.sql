select
    customers.stripe_id as stripe_customer_id,
    {{ json_text('body', 'metadata.billhouse_customer_id') }} as customer_id,
    {{ json_text('body', 'name') }} as name,
    {{ json_text('body', 'email') }} as email
from {{ mirrored('customers') }} as customers
where customers.recency = 1 and not customers.is_deleted
