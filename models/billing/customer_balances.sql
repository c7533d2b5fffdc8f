with

-- The running month: that of as_of.
months as (

    select
        as_of,
        current_period as period,
        date_trunc('month', as_of) as month_starts_at,
        date_trunc('month', as_of) + interval 1 month as month_ends_at
    from {{ ref('stg_build_inputs') }}

),

terms as (

    select
        terms.customer_id,
        terms.plan_id,
        terms.contract_id,
        terms.collection,
        terms.max_session_seconds,
        terms.max_concurrent_sandboxes
    from {{ ref('customer_terms') }} as terms
    inner join months on months.as_of >= terms.starts_at and months.as_of < terms.ends_at

),

month_spend as (

    select
        days.customer_id,
        days.currency,
        sum(days.usage_amount) as usage_amount,
        sum(days.fee_amount) as fee_amount,
        max(days.month_to_date_amount) as month_to_date_amount
    from {{ ref('spend_days') }} as days
    inner join months on days.period = months.period
    group by days.customer_id, days.currency

),

month_credit as (

    select
        credit_months.customer_id,
        credit_months.currency,
        -- A grant that expires before the month's end pays until it expires (the credit ledger expires it at the month's end).
        sum(
            case
                when coalesce(credit_months.expires_at, {{ end_of_time() }}) > months.as_of
                    then credit_months.closing_amount + credit_months.expired_amount - credit_months.voided_amount
                else credit_months.closing_amount
            end
        ) as credit_left_amount
    from {{ ref('credit_months') }} as credit_months
    inner join months on credit_months.period = months.period
    group by credit_months.customer_id, credit_months.currency

),

draft_totals as (

    select
        invoices.customer_id,
        invoices.currency,
        sum(invoices.total_amount) as unbilled_amount,
        -- If the draft of the running month is collected, further usage of the month is collected with it.
        max(case when invoices.period = months.period and invoices.collection <> 'none' then 1 else 0 end) = 1 as is_collected
    from {{ ref('draft_invoices') }} as invoices
    cross join months
    group by invoices.customer_id, invoices.currency

),

running_counts as (

    select
        customer_id,
        count(distinct sandbox_id) as running_sandboxes
    from {{ ref('sandbox_sessions') }}
    where end_reason = 'open' and not is_paused_at_end
    group by customer_id

),

balances as (

    select
        accounts.customer_id,
        accounts.currency,
        months.period,
        months.as_of,
        terms.plan_id,
        terms.contract_id,
        case when draft_totals.is_collected then 'send_invoice' else terms.collection end as collection,
        cast(coalesce(month_spend.usage_amount, 0) as decimal(18, 3)) as usage_amount,
        cast(coalesce(month_spend.fee_amount, 0) as decimal(18, 3)) as fee_amount,
        cast(coalesce(month_spend.month_to_date_amount, 0) as decimal(18, 3)) as month_to_date_amount,
        cast(coalesce(month_credit.credit_left_amount, 0) as decimal(18, 3)) as credit_left_amount,
        cast(coalesce(draft_totals.unbilled_amount, 0) as decimal(18, 3)) as unbilled_amount,
        cast(accounts.monthly_spend_limit_amount as decimal(18, 3)) as monthly_spend_limit_amount,
        cast(coalesce(running_counts.running_sandboxes, 0) as integer) as running_sandboxes,
        terms.max_concurrent_sandboxes,
        terms.max_session_seconds,
        units.minor_unit_digits,
        units.minor_units_per_unit,
        {{ microseconds_between('months.as_of', 'months.month_ends_at') }} as remaining_microseconds,
        -- Since the customer was first seen in the month, and at least a day: the usage of an hour is no basis for a forecast.
        greatest(
            {{ microseconds_between('greatest(months.month_starts_at, coalesce(accounts.first_seen_at, months.month_starts_at))', 'months.as_of') }},
            86400000000
        ) as elapsed_microseconds
    from {{ ref('customer_accounts') }} as accounts
    cross join months
    inner join {{ ref('currency_units') }} as units on accounts.currency = units.currency
    left join terms on accounts.customer_id = terms.customer_id
    left join month_spend on accounts.customer_id = month_spend.customer_id and accounts.currency = month_spend.currency
    left join month_credit on accounts.customer_id = month_credit.customer_id and accounts.currency = month_credit.currency
    left join draft_totals on accounts.customer_id = draft_totals.customer_id and accounts.currency = draft_totals.currency
    left join running_counts on accounts.customer_id = running_counts.customer_id

),

-- Billing rules, section 8: expected further usage of the month, at the average so far, discounted as the month to date is.
balances_with_growth as (

    select
        *,
        {{ from_minor_units(
            'case when usage_amount + fee_amount > 0 then '
            ~ divide_rounding_half_away(
                divide_rounding_half_away(
                    'cast(usage_amount * minor_units_per_unit as decimal(38, 0)) * remaining_microseconds', 'elapsed_microseconds'
                ) ~ ' * cast(month_to_date_amount * minor_units_per_unit as decimal(38, 0))',
                'cast((usage_amount + fee_amount) * minor_units_per_unit as decimal(38, 0))'
            ) ~ ' else 0 end',
            'minor_unit_digits'
        ) }} as growth_amount
    from balances

),

balances_with_limits as (

    select
        *,
        coalesce(month_to_date_amount >= monthly_spend_limit_amount and month_to_date_amount > 0, false) as is_spend_limit_reached,
        -- Further usage is neither paid by credit nor collected.
        coalesce(collection = 'none' and credit_left_amount <= 0, false) as is_credit_exhausted,
        coalesce(running_sandboxes >= max_concurrent_sandboxes, false) as is_concurrency_limit_reached
    from balances_with_growth

)

select
    customer_id,
    currency,
    period,
    {{ from_utc('as_of') }} as as_of,
    plan_id,
    contract_id,
    usage_amount,
    fee_amount,
    month_to_date_amount,
    cast(month_to_date_amount + growth_amount as decimal(18, 3)) as forecast_amount,
    credit_left_amount,
    unbilled_amount,
    monthly_spend_limit_amount,
    running_sandboxes,
    max_concurrent_sandboxes,
    max_session_seconds,
    is_spend_limit_reached,
    is_credit_exhausted,
    is_concurrency_limit_reached,
    case
        when is_spend_limit_reached or is_credit_exhausted then 'stop'
        when
            is_concurrency_limit_reached
            or coalesce(month_to_date_amount * 100 >= monthly_spend_limit_amount * 80 and month_to_date_amount > 0, false)
            then 'warn'
        else 'ok'
    end as standing
from balances_with_limits
