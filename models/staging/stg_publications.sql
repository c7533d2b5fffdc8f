select
    invoice_id,
    livemode as is_live,
    stripe_customer_id,
    stripe_invoice_id,
    stripe_invoice_number,
    status as stripe_status,
    total_amount,
    currency,
    hosted_invoice_url,
    content_hash,
    {{ to_utc('published_at') }} as published_at
from {{ source('ledger', 'publications') }}
-- Once this deployment is in Stripe live mode, publications in test mode are ignored.
where livemode = (select is_live from {{ ref('stg_stripe_mode') }})
