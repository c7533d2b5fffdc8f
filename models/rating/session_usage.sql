-- Quantities and list amount of each session that this build recomputes. A meter with an allowance, tiers or packages is not in
-- the list amount: its price depends on the whole month.
with

priced_pieces as (

    select
        segments.session_id,
        segments.sandbox_id,
        segments.execution_id,
        segments.currency,
        segments.meter_id,
        segments.quantity,
        case when segments.is_trial then 0 else {{ list_price('segments.quantity', 'rates') }} end as list_amount
    from {{ ref('priced_segments') }} as segments
    {{ only_dirty_executions('segments') }}
    inner join {{ ref('rates') }} as rates on segments.rate_id = rates.rate_id
    where
        segments.session_id is not null
        and {{ may_touch_dirty_days('segments.started_at', 'segments.ended_at') }}

)

select
    session_id,
    sandbox_id,
    execution_id,
    case when min(currency) = max(currency) then min(currency) end as currency,
    {%- for meter_id, column in [
        ('vcpu', 'vcpu_seconds'), ('memory', 'memory_gb_seconds'), ('storage', 'storage_gb_seconds'),
        ('gpu', 'gpu_seconds'), ('tokens', 'tokens')
    ] %}
    cast(sum(case when meter_id = '{{ meter_id }}' then quantity else 0 end) as decimal(38, 12)) as {{ column }},
    {%- endfor %}
    -- Amounts in two currencies cannot be added.
    cast(case when min(currency) = max(currency) then sum(list_amount) end as decimal(38, 12)) as list_amount
from priced_pieces
group by session_id, sandbox_id, execution_id
