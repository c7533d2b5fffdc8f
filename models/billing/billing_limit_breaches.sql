{{ config(alias='limit_breaches') }}
select
    breach_id,
    customer_id,
    limit_kind,
    period,
    sandbox_id,
    session_id,
    allowed,
    observed,
    unit,
    {{ from_utc('first_at') }} as first_at,
    {{ from_utc('last_at') }} as last_at
from {{ ref('limit_breaches') }}
