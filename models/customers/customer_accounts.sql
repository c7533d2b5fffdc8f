-- Billing rules, section 5: customer records are optional, so a customer may have events, subscriptions or contracts alone, or a record alone.
select
    coalesce(seen.customer_id, records.customer_id) as customer_id,
    records.name,
    records.email,
    records.language,
    currencies.currency,
    records.stripe_customer_id,
    records.monthly_spend_limit_amount,
    records.created_at,
    seen.first_event_at,
    seen.first_subscribed_at,
    seen.first_seen_at
from {{ ref('customer_first_seen') }} as seen
full outer join {{ ref('customer_records') }} as records on seen.customer_id = records.customer_id
cross join {{ ref('stg_build_inputs') }} as build
inner join {{ ref('customer_currencies') }} as currencies
    on
        coalesce(seen.customer_id, records.customer_id) = currencies.customer_id
        and build.as_of >= currencies.starts_at
        and build.as_of < currencies.ends_at
