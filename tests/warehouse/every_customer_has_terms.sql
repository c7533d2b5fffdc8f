-- Fails if a customer has time for which nothing is agreed: the price book does not have its plan then, so that its usage and fees could
-- not be priced. A record from a file is checked when it lands; the price book may have changed since, and Stripe's records do not land.
with

first_versions as (

    select
        plan_id,
        min(starts_at) as first_starts_at
    from {{ ref('plan_versions') }}
    group by plan_id

),

without_a_plan as (

    select
        periods.customer_id,
        periods.plan_id,
        periods.starts_at,
        least(periods.ends_at, coalesce(first_versions.first_starts_at, periods.ends_at)) as ends_at,
        'the price book has no such plan then; it is there from: '
        || coalesce(cast(first_versions.first_starts_at as string), 'never') as problem
    from {{ ref('customer_plan_periods') }} as periods
    left join first_versions on periods.plan_id = first_versions.plan_id
    where periods.starts_at < coalesce(first_versions.first_starts_at, {{ end_of_time() }})

),

without_terms as (

    select
        seen.customer_id,
        cast(null as string) as plan_id,
        seen.customer_since as starts_at,
        seen.customer_since as ends_at,
        'the customer has no plan at its first event, record or contract' as problem
    from {{ ref('customer_first_seen') }} as seen
    left join {{ ref('customer_terms') }} as terms
        on
            seen.customer_id = terms.customer_id
            and seen.customer_since >= terms.starts_at
            and seen.customer_since < terms.ends_at
    where
        terms.customer_id is null
        and seen.customer_id not in (select customer_id from without_a_plan)

)

select * from without_a_plan
union all
select * from without_terms
