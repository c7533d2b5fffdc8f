-- Billing rules, section 5: the terms of a customer, and when they hold: its plan's, except where a contract in force has its own.
with

plan_periods as (

    select
        customer_id,
        plan_id,
        is_trial,
        starts_at,
        ends_at
    from {{ ref('customer_plan_periods') }}

),

contracts as (

    select
        contract_id,
        customer_id,
        {{ to_utc('starts_at') }} as starts_at,
        coalesce({{ to_utc('ends_at') }}, {{ end_of_time() }}) as ends_at,
        max_session_seconds,
        max_concurrent_sandboxes,
        default_vcpu_count,
        default_memory_gb,
        default_storage_gb
    from {{ ref('contracts') }}

),

plan_terms as (

    select
        plan_periods.customer_id,
        plan_periods.plan_id,
        plan_periods.is_trial,
        versions.plan_name,
        versions.collection,
        versions.max_session_seconds,
        versions.max_concurrent_sandboxes,
        versions.default_vcpu_count,
        versions.default_memory_gb,
        versions.default_storage_gb,
        greatest(plan_periods.starts_at, versions.starts_at) as starts_at,
        least(plan_periods.ends_at, versions.ends_at) as ends_at
    from plan_periods
    inner join {{ ref('plan_versions') }} as versions
        on
            plan_periods.plan_id = versions.plan_id
            and plan_periods.starts_at < versions.ends_at
            and versions.starts_at < plan_periods.ends_at

),

-- The instants at which terms can change: between two of them they are constant.
term_edges as (

    select
        customer_id,
        starts_at as edge_at
    from plan_terms
    union
    select
        customer_id,
        ends_at
    from plan_terms
    union
    select
        customer_id,
        starts_at
    from contracts
    union
    select
        customer_id,
        ends_at
    from contracts

),

term_periods as (

    select
        customer_id,
        edge_at as starts_at,
        lead(edge_at) over (partition by customer_id order by edge_at) as ends_at
    from term_edges

)

select
    term_periods.customer_id,
    plan_terms.plan_id,
    contracts.contract_id,
    term_periods.starts_at,
    term_periods.ends_at,
    plan_terms.plan_name,
    -- Billing rules, section 7: a contract in force collects, also on a plan that does not.
    case when contracts.contract_id is not null then 'send_invoice' else plan_terms.collection end as collection,
    plan_terms.is_trial,
    coalesce(contracts.max_session_seconds, plan_terms.max_session_seconds) as max_session_seconds,
    coalesce(contracts.max_concurrent_sandboxes, plan_terms.max_concurrent_sandboxes) as max_concurrent_sandboxes,
    coalesce(contracts.default_vcpu_count, plan_terms.default_vcpu_count) as default_vcpu_count,
    coalesce(contracts.default_memory_gb, plan_terms.default_memory_gb) as default_memory_gb,
    coalesce(contracts.default_storage_gb, plan_terms.default_storage_gb) as default_storage_gb
from term_periods
inner join plan_terms
    on
        term_periods.customer_id = plan_terms.customer_id
        and term_periods.starts_at >= plan_terms.starts_at
        and term_periods.starts_at < plan_terms.ends_at
left join contracts
    on
        term_periods.customer_id = contracts.customer_id
        and term_periods.starts_at >= contracts.starts_at
        and term_periods.starts_at < contracts.ends_at
