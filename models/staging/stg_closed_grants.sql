-- Credit grants as they stood at the first close that saw them. Facts: a sign-up grant is given once, ever, whatever lands later.
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
