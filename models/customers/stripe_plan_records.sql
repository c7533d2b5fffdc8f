-- Billing rules, section 5: a plan record at each instant at which a customer's subscriptions in Stripe change its plan or trial.
with

-- A state with two plans or an unknown status changes no plan: billing.stripe_subscriptions shows it as a problem.
usable_states as (

    select *
    from {{ ref('stripe_subscription_states') }}
    where customer_id is not null and problem not in ('two_plans', 'unknown_status')

),

state_periods as (

    select
        customer_id,
        stripe_subscription_id,
        started_at,
        plan_id,
        is_trial,
        starts_at,
        lead(starts_at) over (partition by stripe_subscription_id order by state_number) as ends_at
    from usable_states

),

instants as (

    select distinct
        customer_id,
        starts_at
    from state_periods

),

-- Of several subscriptions that give a plan at one instant, the one that started last counts.
ranked_plans as (

    select
        instants.customer_id,
        instants.starts_at,
        state_periods.plan_id,
        state_periods.is_trial,
        row_number() over (
            partition by instants.customer_id, instants.starts_at
            order by state_periods.started_at desc, state_periods.stripe_subscription_id desc
        ) as plan_rank
    from instants
    left join state_periods
        on
            instants.customer_id = state_periods.customer_id
            and state_periods.plan_id is not null
            and instants.starts_at >= state_periods.starts_at
            and instants.starts_at < coalesce(state_periods.ends_at, {{ end_of_time() }})

),

plans_with_previous as (

    select
        customer_id,
        starts_at,
        plan_id,
        coalesce(is_trial, false) as is_trial,
        lag(coalesce(plan_id, ''), 1, '') over (partition by customer_id order by starts_at) as previous_plan_id,
        lag(coalesce(is_trial, false), 1, false) over (partition by customer_id order by starts_at) as was_trial
    from ranked_plans
    where plan_rank = 1

)

select
    customer_id,
    plan_id,
    is_trial,
    starts_at as effective_at
from plans_with_previous
where coalesce(plan_id, '') <> previous_plan_id or is_trial <> was_trial
