-- Billing rules, section 5: the currency in which a customer is billed, and when. A change of currency takes effect on the first instant of a
-- month. A closed month keeps the currency in which it was billed; no record changes it.
with

records as (

    select
        records.customer_id,
        case
            when records.currency is not null then records.currency
            when ',' || records.cleared_fields || ',' like '%,currency,%' then build.default_currency
        end as currency,
        records.effective_at,
        row_number() over (
            partition by records.customer_id
            order by records.landed_sequence, records.file_row
        ) as record_number
    from {{ ref('stg_customers') }} as records
    cross join {{ ref('stg_build_inputs') }} as build

),

records_with_currency as (

    select
        *,
        min(case when effective_at is not null then record_number end) over (
            partition by customer_id
        ) as first_dated_number
    from records
    where currency is not null

),

dated_changes as (

    select
        customer_id,
        currency,
        effective_at as starts_at,
        row_number() over (
            partition by customer_id, effective_at
            order by record_number desc
        ) as recency
    from records_with_currency
    where effective_at is not null

),

-- A record without a date sets the currency from the beginning. After a dated record it can only repeat a currency in force: landing
-- quarantines others.
undated_currencies as (

    select
        customer_id,
        currency,
        row_number() over (partition by customer_id order by record_number desc) as recency
    from records_with_currency
    where effective_at is null and record_number < coalesce(first_dated_number, record_number + 1)

),

billed_months as (

    select
        customer_id,
        cast(period || '-01 00:00:00' as timestamp) as starts_at,
        min(currency) as currency
    from {{ ref('stg_billed_currencies') }}
    group by customer_id, period

),

first_billed_months as (

    select
        customer_id,
        starts_at,
        currency,
        row_number() over (partition by customer_id order by starts_at) as number
    from billed_months

),

customers_dated_before_billed as (

    select distinct first_billed.customer_id
    from first_billed_months as first_billed
    inner join dated_changes as dated
        on
            first_billed.customer_id = dated.customer_id
            and first_billed.starts_at >= dated.starts_at
    where first_billed.number = 1

),

customers as (

    select customer_id from {{ ref('customer_first_seen') }}
    union
    select customer_id from {{ ref('stg_customers') }}
    union
    select customer_id from billed_months

),

-- The months before the first billed one have its currency, unless a dated record begins in or before it.
first_currencies as (

    select
        customers.customer_id,
        {{ beginning_of_time() }} as starts_at,
        case
            when first_billed.currency is not null and dated_before_billed.customer_id is null then first_billed.currency
            else coalesce(undated.currency, build.default_currency)
        end as currency
    from customers
    cross join {{ ref('stg_build_inputs') }} as build
    left join undated_currencies as undated on customers.customer_id = undated.customer_id and undated.recency = 1
    left join first_billed_months as first_billed on customers.customer_id = first_billed.customer_id and first_billed.number = 1
    left join customers_dated_before_billed as dated_before_billed on customers.customer_id = dated_before_billed.customer_id

),

-- Of several at one instant the highest precedence counts: a closed month, then a dated record, then the first currency.
currency_starts as (

    select
        customer_id,
        starts_at,
        currency,
        0 as precedence
    from first_currencies
    union all
    select
        customer_id,
        starts_at,
        currency,
        1 as precedence
    from dated_changes
    where recency = 1
    union all
    select
        customer_id,
        starts_at,
        currency,
        2 as precedence
    from billed_months

),

ranked_currency_starts as (

    select
        *,
        row_number() over (partition by customer_id, starts_at order by precedence desc) as recency
    from currency_starts

),

currencies_in_order as (

    select
        customer_id,
        starts_at,
        currency,
        lag(currency) over (partition by customer_id order by starts_at) as currency_before
    from ranked_currency_starts
    where recency = 1

)

select
    customer_id,
    currency,
    starts_at,
    coalesce(
        lead(starts_at) over (partition by customer_id order by starts_at),
        {{ end_of_time() }}
    ) as ends_at
from currencies_in_order
where currency_before is null or currency <> currency_before
