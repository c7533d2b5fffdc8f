-- Billing rules, section 5: dated records of who is on which plan from when. They land as files; where a price in Stripe stands
-- for a plan (seeds/stripe_prices.csv), a subscription there is such a record, too. At one instant, what landed comes first.
with

from_stripe as (

    select
        links.customer_id,
        -- A subscription that is over leaves its customer where one without any is.
        case when changes.stripe_status in ('active', 'trialing', 'past_due') then prices.plan_id else default_plan.plan_id end as plan_id,
        changes.stripe_status = 'trialing' as is_trial,
        changes.changed_at as effective_at,
        changes.source_id,
        row_number() over (
            partition by links.customer_id, changes.changed_at
            order by changes.change_rank asc, changes.source_id asc
        ) as record_number
    from {{ ref('stg_stripe_subscriptions') }} as changes
    inner join {{ ref('stripe_prices') }} as prices on changes.stripe_price_id = prices.stripe_price_id
    inner join {{ ref('stripe_customer_links') }} as links on changes.stripe_customer_id = links.stripe_customer_id
    cross join {{ ref('default_plan') }} as default_plan
    where changes.stripe_status not in ('incomplete')

)

select
    customer_id,
    plan_id,
    is_trial,
    effective_at,
    landed_sequence,
    cast(file_row as bigint) as file_row,
    'landed' as source
from {{ ref('stg_subscriptions') }}

union all

select
    customer_id,
    plan_id,
    is_trial,
    effective_at,
    0 as landed_sequence,
    record_number as file_row,
    'stripe' as source
from from_stripe
