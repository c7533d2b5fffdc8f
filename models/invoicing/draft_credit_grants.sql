-- Grants that no close has seen yet: the first close of the month they were given in, or of a later one, freezes them.
select
    grants.grant_id,
    grants.customer_id,
    {{ billing_period('grants.granted_at') }} as period,
    grants.amount,
    grants.currency,
    grants.priority,
    {{ from_utc('grants.granted_at') }} as granted_at,
    {{ from_utc('grants.expires_at') }} as expires_at,
    grants.scope,
    grants.source
from {{ ref('credit_grants') }} as grants
where not grants.is_closed
