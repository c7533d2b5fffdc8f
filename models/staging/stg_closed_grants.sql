-- Billing rules, section 6: credit grants as of the first close that included them. What lands later changes none. Append-only.
select
    grant_id,
    customer_id,
    period,
    amount,
    currency,
    priority,
    {{ to_utc('granted_at') }} as granted_at,
    {{ to_utc('expires_at') }} as expires_at,
    scope,
    source
from {{ source('closes', 'credit_grants') }}
where period in (select period from {{ ref('stg_closes') }})
