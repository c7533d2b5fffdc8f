-- Billing rules, section 5. Fails if the price book lacks a customer's plan at some time: usage and fees could not be priced. Landing checks a
-- plan record against the price book, but the price book may have changed since, and records from Stripe do not land.
with

first_versions as (

    select
        plan_id,
        min(starts_at) as first_starts_at
    from {{ ref('plan_versions') }}
    group by plan_id

),

periods_without_version as (

    select
        periods.customer_id,
        periods.plan_id,
        periods.starts_at,
        least(periods.ends_at, coalesce(first_versions.first_starts_at, periods.ends_at)) as ends_at,
        'the price book does not have the plan at that time; its first version is from: '
        || coalesce(cast(first_versions.first_starts_at as string), 'never') as problem
    from {{ ref('customer_plan_periods') }} as periods
    left join first_versions on periods.plan_id = first_versions.plan_id
    where periods.starts_at < coalesce(first_versions.first_starts_at, {{ end_of_time() }})

),

customers_without_terms as (

    select
        seen.customer_id,
        cast(null as string) as plan_id,
        seen.customer_since as starts_at,
        seen.customer_since as ends_at,
        'the customer has no plan at its first event, plan record or contract' as problem
    from {{ ref('customer_first_seen') }} as seen
    left join {{ ref('customer_terms') }} as terms
        on
            seen.customer_id = terms.customer_id
            and seen.customer_since >= terms.starts_at
            and seen.customer_since < terms.ends_at
    where
        terms.customer_id is null
        and seen.customer_id not in (select customer_id from periods_without_version)

)

select * from periods_without_version
union all
select * from customers_without_terms
