-- Billing rules, section 5: discount and commitment of the contracts in force in a month. A commitment is prorated by the
-- contract's own time in the month. Of two contracts in one month, the later one's discount applies, and both commitments.
with

contracts as (

    select
        contracts.contract_id,
        contracts.customer_id,
        contracts.currency,
        contracts.discount_rate,
        contracts.monthly_commitment_amount,
        -- Nothing is due before the books open (section 2).
        greatest({{ to_utc('contracts.starts_at') }}, build.books_open_at) as starts_at,
        least(
            coalesce({{ to_utc('contracts.ends_at') }}, {{ end_of_time() }}),
            date_trunc('month', build.as_of) + interval 1 month
        ) as ends_at
    from {{ ref('contracts') }} as contracts
    cross join {{ ref('stg_build_inputs') }} as build

),

months as (

    select
        *,
        {{ starts_of_each('month', 'starts_at', 'ends_at') }} as month_starts_at
    from contracts
    where starts_at < ends_at

),

times_in_force as (

    select
        *,
        {{ billing_period('month_starts_at') }} as period,
        greatest(starts_at, month_starts_at) as in_force_from,
        least(ends_at, month_starts_at + interval 1 month) as in_force_until
    from months

),

ranked_times as (

    select
        *,
        {{ microseconds_between('in_force_from', 'in_force_until') }} as duration_microseconds,
        {{ microseconds_between('month_starts_at', '(month_starts_at + interval 1 month)') }} as month_microseconds,
        row_number() over (partition by customer_id, period, currency order by in_force_from desc) as recency
    from times_in_force

)

select
    ranked_times.customer_id,
    ranked_times.period,
    ranked_times.currency,
    max(case when ranked_times.recency = 1 then ranked_times.contract_id end) as contract_id,
    max(case when ranked_times.recency = 1 then ranked_times.in_force_until end) as in_force_until,
    max(case when ranked_times.recency = 1 then ranked_times.discount_rate end) as discount_rate,
    max(case when ranked_times.recency = 1 then ranked_times.monthly_commitment_amount end) as monthly_commitment_amount,
    -- Millionths of the currency x microseconds. due_contract_lines divides by the month's microseconds and applies rounding there, once.
    sum(
        cast(coalesce(ranked_times.monthly_commitment_amount, 0) * cast(1000000 as decimal(7, 0)) as decimal(38, 0))
        * ranked_times.duration_microseconds
    ) as commitment_millionth_microseconds,
    max(ranked_times.month_microseconds) as month_microseconds
from ranked_times
group by ranked_times.customer_id, ranked_times.period, ranked_times.currency
