-- Billing rules, section 8: what was observed of each limit, and when: every level of concurrency, every session, every day's spend.
-- A customer without a limit has no readings of it.
select
    customer_id,
    'concurrent_sandboxes' as limit_kind,
    period,
    cast(max_concurrent_sandboxes as decimal(38, 12)) as allowed,
    cast(sandboxes as decimal(38, 12)) as observed,
    'sandbox' as unit,
    started_at as observed_at,
    -- Only a session grows while it is watched: it reaches a share of its limit at that share of its time.
    false as grows_over_time
from {{ ref('concurrency_levels') }}
where max_concurrent_sandboxes > 0

union all

select
    customer_id,
    'session_length' as limit_kind,
    {{ billing_period('started_at') }} as period,
    cast(max_session_seconds as decimal(38, 12)) as allowed,
    {{ to_unit_seconds('duration_microseconds') }} as observed,
    'second' as unit,
    started_at as observed_at,
    true as grows_over_time
from {{ ref('sandbox_sessions') }}
where max_session_seconds > 0 and started_at < ended_at

union all

select
    days.customer_id,
    'monthly_spend' as limit_kind,
    days.period,
    cast(accounts.monthly_spend_limit_amount as decimal(38, 12)) as allowed,
    cast(days.month_to_date_amount as decimal(38, 12)) as observed,
    days.currency as unit,
    -- A day's amount is known to have been reached when the day is over.
    least(build.as_of, cast(days.spend_date as timestamp) + interval 1 day) as observed_at,
    false as grows_over_time
from {{ ref('spend_days') }} as days
inner join {{ ref('customer_accounts') }} as accounts
    on
        days.customer_id = accounts.customer_id
        and days.currency = accounts.currency
cross join {{ ref('stg_build_inputs') }} as build
where accounts.monthly_spend_limit_amount is not null and days.month_to_date_amount > 0
