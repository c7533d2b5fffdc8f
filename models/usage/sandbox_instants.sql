-- Billing rules, section 4: what a sandbox was told at one instant. Of folded heartbeats there are two instants, the first and the last:
-- what lies between them repeats the first.
select
    sandbox_id,
    execution_id,
    customer_id,
    first_at as event_at,
    has_start,
    has_stop,
    has_update,
    {{ (resource_columns() + quantity_columns()) | join(',\n    ') }}
from {{ ref('folded_events') }}
union all
select
    sandbox_id,
    execution_id,
    customer_id,
    last_at as event_at,
    has_start,
    has_stop,
    has_update,
    {{ (resource_columns() + quantity_columns()) | join(',\n    ') }}
from {{ ref('folded_events') }}
where last_at > first_at
