-- What subscriptions said, and since when: Stripe's events tell of every change; a subscription older than Stripe's memory of
-- events (30 days) is taken as it is, from its start.
with

told as (

    select
        events.stripe_id as source_id,
        {{ json_text('body', 'data.object.id') }} as stripe_subscription_id,
        {{ json_text('body', 'data.object.customer') }} as stripe_customer_id,
        {{ json_text('body', 'data.object.items.data[0].price.id') }} as stripe_price_id,
        {{ json_text('body', 'data.object.status') }} as stripe_status,
        {{ from_unix(json_text('body', 'created')) }} as changed_at,
        case {{ json_text('body', 'type') }}
            when 'customer.subscription.created' then 1
            when 'customer.subscription.updated' then 2
            else 3
        end as change_rank
    from {{ mirrored('events') }} as events
    where
        events.recency = 1
        and {{ json_text('body', 'type') }} in (
            'customer.subscription.created', 'customer.subscription.updated', 'customer.subscription.deleted'
        )

),

standing as (

    select
        subscriptions.stripe_id as source_id,
        subscriptions.stripe_id as stripe_subscription_id,
        {{ json_text('body', 'customer') }} as stripe_customer_id,
        {{ json_text('body', 'items.data[0].price.id') }} as stripe_price_id,
        {{ json_text('body', 'status') }} as stripe_status,
        {{ from_unix(json_text('body', 'start_date')) }} as changed_at,
        {{ from_unix(json_text('body', 'ended_at')) }} as ended_at
    from {{ mirrored('subscriptions') }} as subscriptions
    where subscriptions.recency = 1 and not subscriptions.is_deleted

),

older_than_the_events as (

    select * from standing
    where stripe_subscription_id not in (select stripe_subscription_id from told)

)

select
source_id,
stripe_subscription_id,
stripe_customer_id,
stripe_price_id,
stripe_status,
changed_at,
change_rank
from told

union all

select
source_id,
stripe_subscription_id,
stripe_customer_id,
stripe_price_id,
'active' as stripe_status,
changed_at,
1 as change_rank
from older_than_the_events

union all

select
source_id,
stripe_subscription_id,
stripe_customer_id,
stripe_price_id,
stripe_status,
ended_at as changed_at,
3 as change_rank
from older_than_the_events
where ended_at is not null
