-- depends_on: {{ ref('dirty_executions') }}
-- Sessions and recorded quantities of the last build, of the timelines that this build recomputes. A session may be gone or shorter now:
-- `dirty_customer_days` needs the days that it had before.
{% if is_full_rating() %}
select
    customer_id,
    first_at as started_at,
    last_at as ended_at
from {{ ref('compacted_events') }}
where 1 = 0
{% else %}
select
    sessions.customer_id,
    sessions.started_at,
    sessions.ended_at
from {{ last_built('sandbox_sessions') }} as sessions
{{ only_dirty_executions('sessions') }}

union all

select
    quantities.customer_id,
    quantities.event_at as started_at,
    quantities.event_at as ended_at
from {{ last_built('recorded_quantities') }} as quantities
{{ only_dirty_executions('quantities') }}
{% endif %}
