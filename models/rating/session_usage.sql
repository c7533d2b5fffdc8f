-- Quantities and list amount of each session that this build recomputes. A meter with an allowance, tiers or packages is not in
-- the list amount: its price depends on the whole month.
select
    segments.session_key,
    cast(sum(segments.duration_microseconds) as bigint) as duration_microseconds,
    case when min(segments.currency) = max(segments.currency) then min(segments.currency) end as currency,
    {%- for resource, quantity in [
        ('vcpu_count', 'vcpu_seconds'), ('memory_gb', 'memory_gb_seconds'), ('storage_gb', 'storage_gb_seconds'),
        ('gpu_count', 'gpu_seconds')
    ] %}
    {{ to_unit_seconds('sum(' ~ unit_microseconds('segments.' ~ resource, 'segments.duration_microseconds') ~ ')') }}
        as {{ quantity }},
    {%- endfor %}
    cast(sum(segments.tokens) as decimal(38, 12)) as tokens,
    -- Amounts in two currencies cannot be added.
    cast(
        case when min(segments.currency) = max(segments.currency) then sum(segments.list_amount) end as decimal(38, 12)
    ) as list_amount
from {{ ref('usage_segments') }} as segments
{{ only_dirty_executions('segments') }}
where
    segments.session_key is not null
    and {{ may_touch_dirty_days('segments.started_at', 'segments.ended_at') }}
group by segments.session_key
