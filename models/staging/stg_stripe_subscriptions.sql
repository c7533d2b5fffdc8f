-- All observations of a subscription in Stripe: its events, and the object at each sync. `stripe_subscription_states` chooses among them.
with

observations as (

    select
        events.stripe_id as observation_id,
        true as is_event,
        {{ json_text('body', 'type') }} as event_type,
        {{ json_text('body', 'data.object') }} as subscription,
        {{ json_text('body', 'data.previous_attributes') }} as previous,
        {{ from_unix(json_text('body', 'created')) }} as observed_at,
        events.sync_id,
        events.list_position
    from {{ mirrored('events') }} as events
    where
        events.recency = 1
        and {{ json_text('body', 'type') }} like 'customer.subscription.%'
        and {{ json_text('body', 'data.object.object') }} = 'subscription'

    union all

    select
        subscriptions.sync_id || '/' || subscriptions.stripe_id as observation_id,
        false as is_event,
        cast(null as string) as event_type,
        subscriptions.body as subscription,
        cast(null as string) as previous,
        syncs.started_at as observed_at,
        subscriptions.sync_id,
        cast(null as bigint) as list_position
    from {{ mirrored('subscriptions', with_gone=true) }} as subscriptions
    inner join {{ ref('stg_stripe_syncs') }} as syncs on subscriptions.sync_id = syncs.sync_id
    where not subscriptions.is_deleted

)

select
    observations.observation_id,
    observations.is_event,
    observations.event_type,
    {{ json_text('subscription', 'id') }} as stripe_subscription_id,
    {{ json_text('subscription', 'customer') }} as stripe_customer_id,
    {{ json_text('subscription', 'status') }} as stripe_status,
    {{ json_text('previous', 'status') }} as previous_stripe_status,
    observations.observed_at,
    {{ from_unix(json_text('subscription', 'start_date')) }} as started_at,
    {{ from_unix(json_text('subscription', 'trial_start')) }} as trial_starts_at,
    {{ from_unix(json_text('subscription', 'trial_end')) }} as trial_ends_at,
    {{ from_unix(json_text('subscription', 'status_details.paused.transitioned_at')) }} as paused_at,
    {{ from_unix(json_text('subscription', 'ended_at')) }} as ended_at,
    {{ json_text('subscription', 'items.data') }} as items,
    {{ json_text('previous', 'items.data') }} as previous_items,
    observations.sync_id,
    observations.list_position
from observations
