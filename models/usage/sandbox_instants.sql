-- Billing rules, section 4: what a sandbox was told at one instant. Several events on one instant act together; of several of
-- a kind, the one with the highest event_id speaks.
with

seen_events as (

    select
        sandbox_id,
        execution_id,
        customer_id,
        event_at,
        event_type,
        event_id,
        {{ (resource_columns() + quantity_columns()) | join(',\n        ') }}
    from {{ ref('stg_usage_events') }}
    where event_at <= (select as_of from {{ ref('stg_build_inputs') }})

),

ranked_events as (

    select
        *,
        row_number() over (
            partition by sandbox_id, execution_id, event_at, event_type
            order by event_id desc
        ) as rank_of_kind
    from seen_events

)

select
    sandbox_id,
    execution_id,
    event_at,
    min(customer_id) as customer_id,
    max(case when event_type = 'sandbox_started' then 1 else 0 end) = 1 as has_start,
    max(case when event_type = 'sandbox_stopped' then 1 else 0 end) = 1 as has_stop,
    max(case when event_type = 'resources_updated' then 1 else 0 end) = 1 as has_update,
    -- The resources named here: the update's, else the start's; null where neither names one. A stop names none.
    {%- for resource in resource_columns() %}
    coalesce(
        max(case when rank_of_kind = 1 and event_type = 'resources_updated' then {{ resource }} end),
        max(case when rank_of_kind = 1 and event_type = 'sandbox_started' then {{ resource }} end)
    ) as {{ resource }},
    {%- endfor %}
    -- A quantity is what each event says on top of all others: all of them count.
    {%- for quantity in quantity_columns() %}
    cast(sum(coalesce({{ quantity }}, 0)) as decimal(38, 6)) as {{ quantity }}{{ ',' if not loop.last }}
    {%- endfor %}
from ranked_events
group by sandbox_id, execution_id, event_at
