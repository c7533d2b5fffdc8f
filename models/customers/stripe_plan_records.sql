-- Billing rules, section 5: a record wherever what a customer's subscriptions in Stripe say about its plan changes.
with

-- A state that names two plans, or a status that Stripe did not have when this was written, changes nothing: it is shown as a problem.
states as (

    select *
    from {{ ref('stripe_subscription_states') }}
    where customer_id is not null and problem not in ('two_plans', 'unknown_status')

),

stays as (

    select
        customer_id,
        stripe_subscription_id,
        started_at,
        plan_id,
        is_trial,
        starts_at,
        lead(starts_at) over (partition by stripe_subscription_id order by state_number) as ends_at
    from states

),

instants as (

    select distinct
        customer_id,
        starts_at
    from stays

),

-- Of several subscriptions that name a plan at one instant, the one that started last.
in_force as (

    select
        instants.customer_id,
        instants.starts_at,
        stays.plan_id,
        stays.is_trial,
        row_number() over (
            partition by instants.customer_id, instants.starts_at
            order by stays.started_at desc, stays.stripe_subscription_id desc
        ) as choice
    from instants
    left join stays
        on
            instants.customer_id = stays.customer_id
            and stays.plan_id is not null
            and instants.starts_at >= stays.starts_at
            and instants.starts_at < coalesce(stays.ends_at, {{ end_of_time() }})

),

plans as (

    select
        customer_id,
        starts_at,
        plan_id,
        coalesce(is_trial, false) as is_trial,
        lag(coalesce(plan_id, ''), 1, '') over (partition by customer_id order by starts_at) as previous_plan_id,
        lag(coalesce(is_trial, false), 1, false) over (partition by customer_id order by starts_at) as was_trial
    from in_force
    where choice = 1

)

select
    customer_id,
    plan_id,
    is_trial,
    starts_at as effective_at
from plans
where coalesce(plan_id, '') <> previous_plan_id or is_trial <> was_trial
