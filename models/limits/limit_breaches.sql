-- Billing rules, section 8: breaches of limits, each with the limit, the highest observed value and the time of the breach.
with

levels_above_limit as (

    select
        customer_id,
        started_at,
        ended_at,
        sandboxes,
        max_concurrent_sandboxes,
        case
            when
                started_at = lag(ended_at) over timeline
                and max_concurrent_sandboxes = lag(max_concurrent_sandboxes) over timeline
                then 0
            else 1
        end as is_new
    from {{ ref('concurrency_levels') }}
    where sandboxes > max_concurrent_sandboxes
    window timeline as (partition by customer_id order by started_at)

),

numbered_levels as (

    select
        *,
        sum(is_new) over (
            partition by customer_id order by started_at
            rows between unbounded preceding and current row
        ) as breach_number
    from levels_above_limit

),

-- Levels above the same limit that follow one another without a gap are one breach.
concurrency_breaches as (

    select
        customer_id,
        'concurrent_sandboxes' as limit_kind,
        cast(null as string) as sandbox_id,
        cast(null as string) as session_id,
        cast(max(max_concurrent_sandboxes) as decimal(38, 12)) as allowed,
        cast(max(sandboxes) as decimal(38, 12)) as observed,
        'sandbox' as unit,
        min(started_at) as first_at,
        max(ended_at) as last_at
    from numbered_levels
    group by customer_id, breach_number

),

session_length_breaches as (

    select
        sessions.customer_id,
        'session_length' as limit_kind,
        sessions.sandbox_id,
        sessions.session_id,
        cast(sessions.max_session_seconds as decimal(38, 12)) as allowed,
        {{ to_unit_seconds('sessions.duration_microseconds') }} as observed,
        'second' as unit,
        -- The time of a pause does not count.
        {{ plus_microseconds(
            'coalesce(spans.started_at, sessions.started_at)',
            'sessions.max_session_seconds * 1000000 - coalesce(spans.ran_before_microseconds, 0)'
        ) }} as first_at,
        sessions.ended_at as last_at
    from {{ ref('sandbox_sessions') }} as sessions
    left join {{ ref('running_spans') }} as spans
        on
            sessions.session_key = spans.session_key
            and {{ reaches_within_span('sessions.max_session_seconds * 1000000', 'spans') }}
    where sessions.duration_microseconds > sessions.max_session_seconds * 1000000

),

spend_breaches as (

    select
        observations.customer_id,
        'monthly_spend' as limit_kind,
        cast(null as string) as sandbox_id,
        cast(null as string) as session_id,
        max(observations.allowed) as allowed,
        max(observations.observed) as observed,
        observations.unit,
        min(observations.observed_at) as first_at,
        least(max(build.as_of), cast(observations.period || '-01 00:00:00' as timestamp) + interval 1 month) as last_at,
        -- first_at of a month's last day is the start of the next month, so the month cannot be derived from it.
        observations.period as spent_period
    from {{ ref('spend_observations') }} as observations
    cross join {{ ref('stg_build_inputs') }} as build
    where observations.observed > observations.allowed
    group by observations.customer_id, observations.unit, observations.period

),

-- Billing rules, section 8: an invoice that is not collected has only credit; a total that credit did not cover is a breach.
uncollected as (

    select
        customer_id,
        period,
        currency,
        subtotal_amount,
        total_amount
    from {{ ref('draft_invoices') }}
    where collection = 'none' and total_amount > 0
    union all
    select
        customer_id,
        period,
        currency,
        subtotal_amount,
        total_amount
    from {{ ref('stg_closed_invoices') }}
    where collection = 'none' and total_amount > 0

),

uncollected_days as (

    select
        uncollected.customer_id,
        uncollected.period,
        uncollected.currency,
        uncollected.subtotal_amount,
        uncollected.total_amount,
        min(case
            when days.month_to_date_amount > uncollected.subtotal_amount - uncollected.total_amount
                then cast(days.spend_date as timestamp)
        end) as first_at,
        max(cast(days.spend_date as timestamp) + interval 1 day) as last_at
    from uncollected
    left join {{ ref('spend_days') }} as days
        on
            uncollected.customer_id = days.customer_id
            and uncollected.period = days.period
            and uncollected.currency = days.currency
    group by
        uncollected.customer_id,
        uncollected.period,
        uncollected.currency,
        uncollected.subtotal_amount,
        uncollected.total_amount

),

credit_breaches as (

    select
        days.customer_id,
        'credit' as limit_kind,
        cast(null as string) as sandbox_id,
        cast(null as string) as session_id,
        cast(days.subtotal_amount - days.total_amount as decimal(38, 12)) as allowed,
        cast(days.subtotal_amount as decimal(38, 12)) as observed,
        days.currency as unit,
        -- No day of the month crosses the credit where corrections of other months cause the breach: then the month's start.
        coalesce(days.first_at, cast(days.period || '-01 00:00:00' as timestamp)) as first_at,
        least(build.as_of, coalesce(days.last_at, cast(days.period || '-01 00:00:00' as timestamp) + interval 1 month)) as last_at
    from uncollected_days as days
    cross join {{ ref('stg_build_inputs') }} as build

),

breaches as (

    select
        *,
        cast(null as string) as spent_period
    from concurrency_breaches
    union all
    select
        *,
        cast(null as string) as spent_period
    from session_length_breaches
    union all
    select * from spend_breaches
    union all
    select
        *,
        cast(null as string) as spent_period
    from credit_breaches

)

select
    'BRE-' || upper(substr(md5(
        customer_id || chr(31) || limit_kind || chr(31) || coalesce(session_id, '') || chr(31) || unit || chr(31)
        || cast(first_at as string) || coalesce(chr(31) || spent_period, '')
    ), 1, 16)) as breach_id,
    customer_id,
    limit_kind,
    coalesce(spent_period, {{ billing_period('first_at') }}) as period,
    sandbox_id,
    session_id,
    allowed,
    observed,
    unit,
    first_at,
    last_at
from breaches
