{{ config(alias='credit_grants') }}

select
    grant_id,
    customer_id,
    currency,
    amount,
    source,
    scope,
    priority,
    {{ from_utc('granted_at') }} as granted_at,
    {{ from_utc('expires_at') }} as expires_at,
    {{ from_utc('voided_at') }} as voided_at,
    void_reason
from {{ ref('credit_grants') }}
