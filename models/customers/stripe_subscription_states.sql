-- Billing rules, section 5: the states of each subscription in Stripe, and when they hold. Events date them exactly, but Stripe keeps events
-- for 30 days only. States before the first event, and changes during a longer pause of syncs, are derived from the subscription's own dates.
with

observations as (

    select
        *,
        -- The order of events in one second: the creation, then the others in the order of Stripe's list, then the deletion.
        case event_type when 'customer.subscription.created' then 1 when 'customer.subscription.deleted' then 3 else 2 end as change_rank
    from {{ ref('stg_stripe_subscriptions') }}

),

-- A sync's sighting of the object is needed only where no event of the 29 days before it exists. An event within the hour after it may be of
-- a change between the sync's listing of events and its listing of objects.
sightings_covered_by_events as (

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
    left join sightings_covered_by_events as covered_by_events on observations.observation_id = covered_by_events.observation_id
    where covered_by_events.observation_id is null

),

-- The state just before the first observation, unless that is the creation: an event has the previous values of the fields it changed.
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

-- With one of these statuses the subscription was in force at some time before the first observation.
first_states_after_start as (

    select *
    from first_states
    where first_status in ('trialing', 'active', 'past_due', 'unpaid', 'paused', 'canceled')

),

dated_states as (

    -- The subscription's start.
    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        case when first_status = 'trialing' and trial_starts_at is null then 'trialing' else 'active' end as stripe_status,
        started_at as starts_at,
        trial_ends_at,
        0 as observation_number,
        1 as part
    from first_states_after_start

    union all

    -- A subscription that was never in force.
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

    -- The trial, where the subscription dates it.
    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        'trialing' as stripe_status,
        greatest(trial_starts_at, started_at) as starts_at,
        trial_ends_at,
        0 as observation_number,
        2 as part
    from first_states_after_start
    where trial_starts_at is not null

    union all

    -- The status at the first observation, since the date that Stripe has for it, else since the observation.
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
    from first_states_after_start
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

-- No state follows the end of a subscription, even where Stripe lists another event of the same second after it.
subscription_ends as (

    select
        stripe_subscription_id,
        min(starts_at) as ended_at
    from dated_states
    where stripe_status in ('canceled', 'incomplete_expired')
    group by stripe_subscription_id

),

states_until_end as (

    select
        dated_states.*,
        lead(dated_states.starts_at) over (
            partition by dated_states.stripe_subscription_id
            order by dated_states.starts_at, dated_states.observation_number, dated_states.part
        ) as next_starts_at
    from dated_states
    left join subscription_ends as ends on dated_states.stripe_subscription_id = ends.stripe_subscription_id
    where
        ends.ended_at is null
        or dated_states.starts_at < ends.ended_at
        or (dated_states.stripe_status in ('canceled', 'incomplete_expired') and dated_states.starts_at = ends.ended_at)

),

-- A trial ends at its end date even where no observation follows it: the subscription is active from then on.
states_with_trial_ends as (

    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        stripe_status,
        starts_at,
        observation_number,
        part
    from states_until_end

    union all

    select
        stripe_subscription_id,
        observation_id,
        is_of_previous_items,
        'active' as stripe_status,
        trial_ends_at as starts_at,
        observation_number,
        5 as part
    from states_until_end
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

-- Items whose price is mapped in seeds/stripe_prices.csv give the plan; other items are add-ons.
plans_by_observation as (

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

price_mapping as (

    select count(plan_id) > 0 as has_prices
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

states_with_plans as (

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
    from states_with_trial_ends as states
    inner join subscriptions on states.stripe_subscription_id = subscriptions.stripe_subscription_id
    left join plans_by_observation as plans
        on
            states.observation_id = plans.observation_id
            and states.is_of_previous_items = plans.is_of_previous_items
    left join {{ ref('stripe_customer_links') }} as links on subscriptions.stripe_customer_id = links.stripe_customer_id

),

states_with_problems as (

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
                and price_mapping.has_prices
                then 'no_plan'
            else 'none'
        end as problem
    from states_with_plans as states
    cross join price_mapping
    where states.ends_at is null or states.ends_at > states.starts_at

),

-- Most events are renewals that change none of these values: they make no state.
states_with_previous as (

    select
        *,
        lag(stripe_status) over subscription_in_order as previous_status,
        lag(coalesce(plan_id, '')) over subscription_in_order as previous_plan_id,
        lag(problem) over subscription_in_order as previous_problem,
        lag(item_count) over subscription_in_order as previous_item_count,
        lag(plan_item_count) over subscription_in_order as previous_plan_item_count
    from states_with_problems
    window subscription_in_order as (partition by stripe_subscription_id order by state_number)

),

changed_states as (

    select *
    from states_with_previous
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
from changed_states
