-- Which of our customers a customer in Stripe is: by the id that we wrote there, else by the one in our customer record. A customer that
-- was deleted there stays linked: its subscriptions and invoices are history.
with

recorded as (

    select
        customer_id,
        stripe_customer_id,
        row_number() over (
            partition by customer_id
            order by landed_sequence desc, file_row desc
        ) as recency
    from {{ ref('stg_customers') }}

),

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
    from recorded
    where recency = 1 and stripe_customer_id is not null

)

select
    stripe_customer_id,
    min(customer_id) as customer_id
from links
group by stripe_customer_id
