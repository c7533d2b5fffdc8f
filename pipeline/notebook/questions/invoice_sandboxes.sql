-- Which sandboxes changed most from the month before?
-- The invoice's month, and the calendar month before, at list rates. A session that spans both counts in each by its time in it.
with this_invoice as (
    select
        customer_id,
        currency,
        cast(period || '-01' as timestamp) as first_day
    from billing.invoices
    where invoice_id = {{ var('invoice_id') }}
),

months as (
    select
        customer_id,
        currency,
        months_before = 0 as is_now,
        (first_day - to_months(months_before)) at time zone 'UTC' as starts_at,
        (first_day + to_months(1 - months_before)) at time zone 'UTC' as ends_at
    from this_invoice
    cross join unnest([0, 1]) as ago (months_before)
),

sandbox_months as (
    select
        sessions.sandbox_id,
        sessions.currency,
        months.is_now,
        sessions.list_amount,
        sessions.duration_microseconds,
        date_diff('microsecond', sessions.started_at, sessions.ended_at) as all_microseconds,
        date_diff(
            'microsecond', greatest(sessions.started_at, months.starts_at), least(sessions.ended_at, months.ends_at)
        ) as month_microseconds
    from billing.sessions
    inner join months using (customer_id, currency)
    where sessions.started_at < months.ends_at and sessions.ended_at > months.starts_at and sessions.ended_at > sessions.started_at
),

shares as (
    select
        sandbox_id,
        currency,
        is_now,
        -- Whole microseconds, and 10^-12 of the currency, rounded half up: a division gives a binary number.
        (cast(duration_microseconds as hugeint) * month_microseconds + all_microseconds // 2) // all_microseconds as microseconds,
        cast(
            (cast(replace(cast(list_amount as varchar), '.', '') as hugeint) * month_microseconds + all_microseconds // 2)
            // all_microseconds
            as decimal(26, 0)
        )
        * cast(0.000000000001 as decimal(12, 12)) as amount
    from sandbox_months
)

select
    sandbox_id,
    currency,
    ((coalesce(sum(microseconds) filter (where not is_now), 0) + 180000000) // 360000000) * 0.1 as hours_before,
    ((coalesce(sum(microseconds) filter (where is_now), 0) + 180000000) // 360000000) * 0.1 as hours_now,
    coalesce(sum(amount) filter (where not is_now), 0) as list_amount_before,
    coalesce(sum(amount) filter (where is_now), 0) as list_amount_now,
    list_amount_now - list_amount_before as change_amount
from shares
group by sandbox_id, currency
order by abs(change_amount) desc, sandbox_id
limit 20
