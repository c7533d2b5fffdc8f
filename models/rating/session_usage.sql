-- Quantities and list amount of each session that this build recomputes. A meter with an allowance, tiers or packages is not in
-- the list amount: its price depends on the whole month.
{% set quantities = {
    'vcpu_count': 'vcpu_seconds', 'memory_gb': 'memory_gb_seconds', 'storage_gb': 'storage_gb_seconds', 'gpu_count': 'gpu_seconds'
} %}
with

segments as (

    select segments.*
    from {{ ref('usage_segments') }} as segments
    {{ only_dirty_executions('segments') }}
    where
        segments.session_key is not null
        and {{ may_touch_dirty_days('segments.started_at', 'segments.ended_at') }}

),

-- Their quantities are segments without length.
sessions_with_quantities as (

    select distinct quantities.session_key
    from {{ ref('recorded_quantities') }} as quantities
    {{ only_dirty_executions('quantities') }}
    where quantities.session_key is not null

),

-- Most sessions have one segment and need no sum.
segments_with_others as (

    select
        segments.*,
        segments.is_whole_session and recorded.session_key is null as is_alone
    from segments
    left join sessions_with_quantities as recorded on segments.session_key = recorded.session_key

)

select
    session_key,
    duration_microseconds,
    currency,
    {%- for resource, quantity in quantities.items() %}
    {{ to_unit_seconds(unit_microseconds(resource, 'duration_microseconds')) }} as {{ quantity }},
    {%- endfor %}
    cast(tokens as decimal(38, 12)) as tokens,
    cast(list_amount as decimal(38, 12)) as list_amount
from segments_with_others
where is_alone

union all

select
    session_key,
    cast(sum(duration_microseconds) as bigint) as duration_microseconds,
    case when min(currency) = max(currency) then min(currency) end as currency,
    {%- for resource, quantity in quantities.items() %}
    {{ to_unit_seconds('sum(' ~ unit_microseconds(resource, 'duration_microseconds') ~ ')') }} as {{ quantity }},
    {%- endfor %}
    cast(sum(tokens) as decimal(38, 12)) as tokens,
    -- Amounts in two currencies cannot be added.
    cast(
        case when min(currency) = max(currency) then sum(list_amount) end as decimal(38, 12)
    ) as list_amount
from segments_with_others
where not is_alone
group by session_key
