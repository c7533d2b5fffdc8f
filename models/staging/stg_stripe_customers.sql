-- Deleted customers are included, as they were before the deletion: their subscriptions and invoices still belong to our customers.
with

sightings as (

    select
        stripe_id,
        body,
        row_number() over (partition by stripe_id order by sync_id desc) as recency
    from {{ mirrored('customers', with_gone=true) }} as customers
    where not is_deleted

)

select
    sightings.stripe_id as stripe_customer_id,
    {{ json_text('body', 'metadata.billhouse_customer_id') }} as customer_id,
    {{ json_text('body', 'name') }} as name,
    {{ json_text('body', 'email') }} as email
from sightings
where sightings.recency = 1
