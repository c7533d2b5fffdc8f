-- Billing rules, section 6: opening + granted - applied - expired = closing, for every customer, grant and month.
with

movements as (

    select
        grant_id,
        period,
        sum(amount) as applied_amount
    from {{ ref('credit_applications') }}
    group by grant_id, period

),

months as (

    select
        grants.grant_id,
        grants.customer_id,
        grants.currency,
        grants.source,
        grants.amount,
        grants.granted_at,
        grants.expires_at,
        unnest({{ starts_of_each(
            'month', 'grants.granted_at', "(date_trunc('month', build.as_of) + interval 1 month)"
        ) }}) as month_starts_at
    from {{ ref('credit_grants') }} as grants
    cross join {{ ref('stg_build_inputs') }} as build

),

in_months as (

    select
        months.*,
        {{ billing_period('months.month_starts_at') }} as period,
        date_trunc('month', months.granted_at) = months.month_starts_at as is_first,
        -- Unexpired at a month's end, a grant can be used in that month; from the first month on in which it is not, nothing is left.
        coalesce(months.expires_at <= months.month_starts_at + interval 1 month, false) as is_expired
    from months

),

with_applied as (

    select
        in_months.*,
        cast(coalesce(movements.applied_amount, 0) as decimal(18, 3)) as applied_amount,
        cast(sum(coalesce(movements.applied_amount, 0)) over (
            partition by in_months.grant_id order by in_months.period
            rows between unbounded preceding and current row
        ) as decimal(18, 3)) as applied_so_far_amount
    from in_months
    left join movements
        on
            in_months.grant_id = movements.grant_id
            and in_months.period = movements.period

),

rolled as (

    select
        *,
        cast(
            case when is_expired then 0 else amount - applied_so_far_amount end as decimal(18, 3)
        ) as closing_amount
    from with_applied

),

opened as (

    select
        *,
        coalesce(
            lag(closing_amount) over (partition by grant_id order by period), cast(0 as decimal(18, 3))
        ) as opening_amount
    from rolled

)

select
    customer_id,
    grant_id,
    period,
    currency,
    source,
    opening_amount,
    case when is_first then amount else cast(0 as decimal(18, 3)) end as granted_amount,
    applied_amount,
    cast(
        opening_amount + case when is_first then amount else 0 end - applied_amount - closing_amount as decimal(18, 3)
    ) as expired_amount,
    closing_amount
from opened
