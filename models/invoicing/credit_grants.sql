-- Billing rules, section 6: every grant that a customer has, of whatever source, and the order in which its grants are used: by
-- priority, then earliest expiry, then earliest grant, then id.
with

-- What a close has seen stands, whatever landed or was edited since: it may have been used.
frozen as (

    select
        grant_id,
        customer_id,
        amount,
        currency,
        priority,
        granted_at,
        expires_at,
        scope,
        source
    from {{ ref('stg_closed_grants') }}

),

known as (

    select
        grant_id,
        customer_id,
        amount,
        currency,
        0 as priority,
        granted_at,
        expires_at,
        scope,
        source
    from {{ ref('signup_grants') }}

    union all

    select
        grant_id,
        customer_id,
        cast(amount as decimal(18, 3)) as amount,
        currency,
        priority,
        -- What was given before the books open counts from their opening (section 2).
        greatest(granted_at, build.books_open_at) as granted_at,
        expires_at,
        scope,
        source
    from {{ ref('stg_credit_grants') }}
    cross join {{ ref('stg_build_inputs') }} as build
    where
        greatest(granted_at, build.books_open_at) <= build.as_of
        and coalesce(expires_at, {{ end_of_time() }}) > build.books_open_at

),

grants as (

    select
        *,
        true as is_closed
    from frozen

    union all

    select
        *,
        false as is_closed
    from known
    where grant_id not in (select grant_id from frozen)

)

select
    grants.grant_id,
    grants.customer_id,
    grants.amount,
    grants.currency,
    grants.priority,
    grants.granted_at,
    grants.expires_at,
    grants.scope,
    grants.source,
    grants.is_closed,
    cast(coalesce(grants.expires_at - interval 1 microsecond, {{ end_of_time() }}) as date) as last_payable_date,
    voids.voided_at,
    voids.reason as void_reason,
    voids.landed_sequence as void_landed_sequence,
    cast(row_number() over (
        partition by grants.customer_id, grants.currency
        order by grants.priority, coalesce(grants.expires_at, {{ end_of_time() }}), grants.granted_at, grants.grant_id
    ) as integer) as use_order
from grants
left join {{ ref('stg_voids') }} as voids on grants.grant_id = voids.grant_id
