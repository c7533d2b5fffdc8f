-- Billing rules, section 8: how many sandboxes a customer ran at once, piece by piece: cut where the number or the limit changes, and
-- at midnight UTC, so that each piece lies in one day and one month.
with

changes as (

    select
        customer_id,
        started_at as changed_at,
        1 as change
    from {{ ref('sandbox_runs') }}
    union all
    select
        customer_id,
        ended_at,
        -1
    from {{ ref('sandbox_runs') }}
    union all
    -- Where the limit may change, the number does not.
    select
        customer_id,
        starts_at,
        0
    from {{ ref('customer_terms') }}

),

instants as (

    select
        customer_id,
        changed_at,
        sum(change) as change
    from changes
    group by customer_id, changed_at

),

levels as (

    select
        customer_id,
        changed_at as started_at,
        lead(changed_at) over (partition by customer_id order by changed_at) as ended_at,
        sum(change) over (
            partition by customer_id order by changed_at
            rows between unbounded preceding and current row
        ) as sandboxes
    from instants

),

days as (

    select
        customer_id,
        started_at,
        ended_at,
        sandboxes,
        {{ starts_of_each('day', 'started_at', 'ended_at') }} as day_starts_at
    from levels
    where sandboxes > 0

),

cut as (

    select
        customer_id,
        sandboxes,
        cast(day_starts_at as date) as usage_date,
        {{ billing_period('day_starts_at') }} as period,
        greatest(started_at, day_starts_at) as started_at,
        least(ended_at, day_starts_at + interval 1 day) as ended_at
    from days

)

select
    cut.customer_id,
    cut.usage_date,
    cut.period,
    cut.started_at,
    cut.ended_at,
    {{ microseconds_between('cut.started_at', 'cut.ended_at') }} as duration_microseconds,
    cast(cut.sandboxes as integer) as sandboxes,
    terms.max_concurrent_sandboxes
from cut
left join {{ ref('customer_terms') }} as terms
    on
        cut.customer_id = terms.customer_id
        and cut.started_at >= terms.starts_at
        and cut.started_at < terms.ends_at
