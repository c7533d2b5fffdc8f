-- The link between Stripe's customers and ours: our id in the metadata of Stripe's customer, or Stripe's id in our customer record. A customer
-- that was deleted in Stripe stays linked, because its subscriptions and invoices remain.
with

links as (

    select
        stripe_customer_id,
        customer_id
    from {{ ref('stg_stripe_customers') }}
    where customer_id is not null

    union

    select
        stripe_customer_id,
        customer_id
    from {{ ref('customer_records') }}
    where stripe_customer_id is not null

)

select
    stripe_customer_id,
    min(customer_id) as customer_id
from links
group by stripe_customer_id
