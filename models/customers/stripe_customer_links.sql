-- Which of our customers a customer in Stripe is: by the id that we wrote there, else by the one in our customer record. A customer that
-- was deleted there stays linked: its subscriptions and invoices are history.
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
