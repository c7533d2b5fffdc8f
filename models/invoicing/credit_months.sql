-- Billing rules, section 6: opening + granted - applied - expired = closing, for every grant and month. A grant counts from the month
-- it was given in; one that no close of that month saw, since it landed later, from the first month that was still open. A void takes
-- away what is left in the month of the void; where no close of that month saw the void, in the first month that was still open.
with

applications as (

    select
        grant_id,
        period,
        amount
    from {{ ref('draft_credit_applications') }}
    union all
    select
        grant_id,
        period,
        amount
    from {{ ref('stg_credit_applications') }}

),

movements as (

    select
        grant_id,
        period,
        sum(amount) as applied_amount
    from applications
    group by grant_id, period

),

closes as (

    select
        period,
        lag(period) over (order by period) as previous_period
    from {{ ref('stg_closes') }}

),

seen as (

    select
        grants.*,
        {{ billing_period('grants.granted_at') }} as granted_period,
        case when grants.is_closed then frozen.period else open_period.first_open_period end as seen_period,
        case when grants.is_closed then closes.previous_period else open_period.closed_through_period end as closed_before_period
    from {{ ref('credit_grants') }} as grants
    cross join {{ ref('open_period') }} as open_period
    left join {{ ref('stg_closed_grants') }} as frozen on grants.grant_id = frozen.grant_id
    left join closes on frozen.period = closes.period

),

-- The first close that saw the void: it had landed, and was not later than the close's as_of.
void_closes as (

    select
        grants.grant_id,
        min(closes.period) as period
    from {{ ref('credit_grants') }} as grants
    inner join {{ ref('stg_closes') }} as closes
        on
            grants.void_landed_sequence <= closes.landed_through_sequence
            and grants.voided_at <= closes.as_of
    group by grants.grant_id

),

grants as (

    select
        seen.*,
        case
            when seen.granted_period <= seen.closed_before_period then cast(seen.seen_period || '-01 00:00:00' as timestamp)
            else date_trunc('month', seen.granted_at)
        end as counts_from,
        case
            when seen.voided_at is not null
                then greatest(
                    {{ billing_period('seen.voided_at') }},
                    coalesce(void_closes.period, open_period.first_open_period, {{ billing_period('seen.voided_at') }})
                )
        end as voided_period
    from seen
    cross join {{ ref('open_period') }} as open_period
    left join void_closes on seen.grant_id = void_closes.grant_id

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
        grants.voided_period,
        grants.counts_from,
        {{ starts_of_each('month', 'grants.counts_from', "(date_trunc('month', build.as_of) + interval 1 month)") }}
            as month_starts_at
    from grants
    cross join {{ ref('stg_build_inputs') }} as build
    where grants.counts_from <= build.as_of

),

in_months as (

    select
        months.*,
        {{ billing_period('months.month_starts_at') }} as period,
        months.counts_from = months.month_starts_at as is_first,
        -- From the first month on at whose end it has expired, nothing is left after that month's invoice has used it.
        coalesce(months.expires_at <= months.month_starts_at + interval 1 month, false)
        or coalesce(months.voided_period <= {{ billing_period('months.month_starts_at') }}, false) as is_expired,
        coalesce(months.voided_period <= {{ billing_period('months.month_starts_at') }}, false) as is_voided
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
        cast(case when is_expired then 0 else amount - applied_so_far_amount end as decimal(18, 3)) as closing_amount
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
    amount,
    granted_at,
    expires_at,
    is_first,
    is_expired,
    is_voided,
    opening_amount,
    case when is_first then amount else cast(0 as decimal(18, 3)) end as granted_amount,
    applied_amount,
    cast(
        opening_amount + case when is_first then amount else 0 end - applied_amount - closing_amount as decimal(18, 3)
    ) as expired_amount,
    case
        when is_voided
            then cast(opening_amount + case when is_first then amount else 0 end - applied_amount as decimal(18, 3))
        else cast(0 as decimal(18, 3))
    end as voided_amount,
    closing_amount
from opened
