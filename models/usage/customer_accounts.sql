-- Billing rules, section 5: customer records are optional; one seen only in events is billed in USD.
with

records as (

    select
        *,
        row_number() over (
            partition by customer_id
            order by landed_sequence desc, file_row desc
        ) as recency
    from {{ ref('stg_customers') }}

),

standing_records as (

    select * from records
    where recency = 1

)

select
    coalesce(seen.customer_id, records.customer_id) as customer_id,
    records.name,
    records.email,
    coalesce(records.currency, 'USD') as currency,
    records.stripe_customer_id,
    records.monthly_spend_limit_amount,
    records.created_at,
    seen.first_event_at,
    seen.first_subscribed_at,
    seen.first_seen_at
from {{ ref('customer_first_seen') }} as seen
full outer join standing_records as records on seen.customer_id = records.customer_id
