{{ config(materialized='table') }}
-- Billing rules, section 4: sandboxes with executions and with events that name none. Events with quantities alone make no execution.
select events.sandbox_id
from {{ ref('compacted_events') }} as events
{{ 'where 1 = 0' if not may_have_mixed_sandboxes() }}
group by events.sandbox_id
having
    min(events.execution_id) = ''
    and max(case when events.execution_id <> '' and {{ changes_state('events') }} then 1 else 0 end) = 1
