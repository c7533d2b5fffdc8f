{{ config(materialized='dirty_rows' if target.type == 'duckdb' else 'view') }}
-- Billing rules, section 4: the events of the timelines that this build recomputes, under the executions that they belong to. Models read them
-- here, so that a build searches all of history for them once.
select
    {{ compacted_columns(events='events') | indent(4) }}
from {{ ref('execution_events') }} as events
{{ only_dirty_executions('events') }}
