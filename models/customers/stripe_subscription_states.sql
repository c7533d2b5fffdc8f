-- Billing rules, section 5: what each subscription in Stripe says, from when until when. Events say it exactly. Stripe forgets them after
-- 30 days: what was before the first event, and what changed while nothing was synced, is derived from the dates that the subscription carries.
with

observations as (

    select
        *,
        -- Of events in one second: the first, those between in the order of Stripe's list, the last.
        case event_type when 'customer.subscription.created' then 1 when 'customer.subscription.deleted' then 3 else 2 end as change_rank
    from {{ ref('stg_stripe_subscriptions') }}

),

-- A sync that saw the object says more than the events where there are none of the 29 days before it. (An event of the hour after it
-- belongs to a change that came between the listing of the events and that of the objects.)
covered_by_events as (

    select distinct sightings.observation_id
    from observations as sightings
    inner join observations as events on sightings.stripe_subscription_id = events.stripe_subscription_id
    where
        not sightings.is_event
        and events.is_event
        and events.observed_at >= sightings.observed_at - interval 29 day
        and events.observed_at <= sightings.observed_at + interval 1 hour

),

used_observations as (

    select
        observations.*,
        row_number() over (
            partition by observations.stripe_subscription_id
            order by
                observations.observed_at,
                observations.change_rank,
                observations.sync_id,
                observations.list_position,
                observations.observation_id
        ) as observation_number
    from observations
    left join covered_by_events on observations.observation_id = covered_by_events.observation_id
    where covered_by_events.observation_id is null

),

-- Where the first observation is not the creation: the state just before it. An event says which values it changed.
first_states as (

    select
        *,
        case
            when event_type = 'customer.subscription.deleted' then 'active'
            else coalesce(previous_stripe_status, stripe_status)
        end as first_status,
        previous_items is not null as is_of_previous_items
    from used_observations
    where observation_number = 1 and coalesce(event_type, '') <> 'customer.subscription.created'

),

-- Statuses that a subscription has had a time in force before.
first_lives as (

    select *
    from first_states
    where first_status in ('trialing', 'active', 'past_due', 'unpaid', 'paused', 'canceled')

),

stated as (

    -- It began with its start.
    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        case when first_status = 'trialing' and trial_starts_at is null then 'trialing' else 'active' end as stripe_status,
        started_at as starts_at,
        trial_ends_at,
        0 as observation_number,
        1 as part
    from first_lives

    union all

    -- It was never in force.
    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        first_status as stripe_status,
        started_at as starts_at,
        trial_ends_at,
        0 as observation_number,
        1 as part
    from first_states
    where first_status not in ('trialing', 'active', 'past_due', 'unpaid', 'paused', 'canceled')

    union all

    -- Its trial has dates.
    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        'trialing' as stripe_status,
        greatest(trial_starts_at, started_at) as starts_at,
        trial_ends_at,
        0 as observation_number,
        2 as part
    from first_lives
    where trial_starts_at is not null

    union all

    -- What it is now has been so since Stripe says; where it does not say, since the observation.
    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        first_status as stripe_status,
        case first_status
            when 'canceled' then coalesce(ended_at, observed_at)
            when 'paused' then coalesce(paused_at, observed_at)
            else observed_at
        end as starts_at,
        trial_ends_at,
        0 as observation_number,
        3 as part
    from first_lives
    where first_status <> 'trialing'

    union all

    select
        stripe_subscription_id,
        observation_id,
        false as is_of_previous_items,
        stripe_status,
        case
            when stripe_status = 'canceled' then least(coalesce(ended_at, observed_at), observed_at)
            when event_type = 'customer.subscription.created' then least(started_at, observed_at)
            when is_event then observed_at
            when stripe_status = 'paused' then least(coalesce(paused_at, observed_at), observed_at)
            when stripe_status = 'trialing' then least(coalesce(trial_starts_at, observed_at), observed_at)
            else observed_at
        end as starts_at,
        trial_ends_at,
        observation_number,
        4 as part
    from used_observations
    where is_event or observation_number > 1

),

-- Nothing follows the end of a subscription, in any order in which the events of one second are read.
ends as (

    select
        stripe_subscription_id,
        min(starts_at) as ended_at
    from stated
    where stripe_status in ('canceled', 'incomplete_expired')
    group by stripe_subscription_id

),

in_order as (

    select
        stated.*,
        lead(stated.starts_at) over (
            partition by stated.stripe_subscription_id
            order by stated.starts_at, stated.observation_number, stated.part
        ) as next_starts_at
    from stated
    left join ends on stated.stripe_subscription_id = ends.stripe_subscription_id
    where
        ends.ended_at is null
        or stated.starts_at < ends.ended_at
        or (stated.stripe_status in ('canceled', 'incomplete_expired') and stated.starts_at = ends.ended_at)

),

-- A trial is over at its end, also where it is not known yet what followed.
with_ends_of_trials as (

    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        stripe_status,
        starts_at,
        observation_number,
        part
    from in_order

    union all

    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        'active' as stripe_status,
        trial_ends_at as starts_at,
        observation_number,
        5 as part
    from in_order
    where
        stripe_status = 'trialing'
        and trial_ends_at > starts_at
        and trial_ends_at < coalesce(next_starts_at, {{ end_of_time() }})

),

items as (

    select
        observations.observation_id,
        false as is_of_previous_items,
        {{ each_json_text('items', 'price.id') }} as stripe_price_id
    from observations

    union all

    select
        observations.observation_id,
        true as is_of_previous_items,
        {{ each_json_text('previous_items', 'price.id') }} as stripe_price_id
    from observations
    where observations.previous_items is not null

),

-- Items whose price is in seeds/stripe_prices.csv say which plan it is; the others are add-ons.
plans as (

    select
        items.observation_id,
        items.is_of_previous_items,
        count(*) as item_count,
        count(prices.plan_id) as plan_item_count,
        count(case when prices.stripe_price_id is null then 1 end) as unlisted_item_count,
        min(prices.plan_id) as plan_id,
        count(distinct prices.plan_id) as plan_count
    from items
    left join {{ ref('stripe_prices') }} as prices on items.stripe_price_id = prices.stripe_price_id
    group by items.observation_id, items.is_of_previous_items

),

are_prices_listed as (

    select count(plan_id) > 0 as is_so
    from {{ ref('stripe_prices') }}

),

subscriptions as (

    select
        stripe_subscription_id,
        min(stripe_customer_id) as stripe_customer_id,
        min(started_at) as started_at
    from observations
    group by stripe_subscription_id

),

states as (

    select
        states.stripe_subscription_id,
        subscriptions.stripe_customer_id,
        links.customer_id,
        subscriptions.started_at,
        states.stripe_status,
        states.starts_at,
        lead(states.starts_at) over (
            partition by states.stripe_subscription_id
            order by states.starts_at, states.observation_number, states.part
        ) as ends_at,
        row_number() over (
            partition by states.stripe_subscription_id
            order by states.starts_at, states.observation_number, states.part
        ) as state_number,
        states.observation_id,
        states.stripe_status in ('trialing', 'active', 'past_due') as is_in_force,
        coalesce(plans.plan_count, 0) as plan_count,
        case when plans.plan_count = 1 then plans.plan_id end as named_plan_id,
        cast(coalesce(plans.item_count, 0) as integer) as item_count,
        cast(coalesce(plans.plan_item_count, 0) as integer) as plan_item_count,
        coalesce(plans.unlisted_item_count, 0) as unlisted_item_count
    from with_ends_of_trials as states
    inner join subscriptions on states.stripe_subscription_id = subscriptions.stripe_subscription_id
    left join plans
        on
            states.observation_id = plans.observation_id
            and states.is_of_previous_items = plans.is_of_previous_items
    left join {{ ref('stripe_customer_links') }} as links on subscriptions.stripe_customer_id = links.stripe_customer_id

),

judged as (

    select
        states.*,
        case when states.is_in_force then states.named_plan_id end as plan_id,
        case
            when
                states.stripe_status not in (
                    'incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'canceled', 'unpaid', 'paused'
                )
                then 'unknown_status'
            when not states.is_in_force then 'none'
            when states.plan_count > 1 then 'two_plans'
            when states.plan_count = 1 and states.customer_id is null then 'unknown_customer'
            when
                states.plan_count = 0
                and states.unlisted_item_count > 0
                and states.customer_id is not null
                and are_prices_listed.is_so
                then 'no_plan'
            else 'none'
        end as problem
    from states
    cross join are_prices_listed
    where states.ends_at is null or states.ends_at > states.starts_at

),

-- What says the same as before is no state of its own: most events are renewals.
compared as (

    select
        *,
        lag(stripe_status) over subscription_in_order as previous_status,
        lag(coalesce(plan_id, '')) over subscription_in_order as previous_plan_id,
        lag(problem) over subscription_in_order as previous_problem,
        lag(item_count) over subscription_in_order as previous_item_count,
        lag(plan_item_count) over subscription_in_order as previous_plan_item_count
    from judged
    window subscription_in_order as (partition by stripe_subscription_id order by state_number)

),

changes as (

    select *
    from compared
    where
        previous_status is null
        or previous_status <> stripe_status
        or previous_plan_id <> coalesce(plan_id, '')
        or previous_problem <> problem
        or previous_item_count <> item_count
        or previous_plan_item_count <> plan_item_count

)

select
    stripe_subscription_id,
    stripe_customer_id,
    customer_id,
    started_at,
    state_number,
    stripe_status,
    starts_at,
    lead(starts_at) over (partition by stripe_subscription_id order by state_number) as ends_at,
    plan_id,
    stripe_status = 'trialing' as is_trial,
    item_count,
    plan_item_count,
    problem,
    observation_id
from changes
