-- depends_on: {{ ref('changed_timelines') }}
-- Sessions as the last build left them, of the timelines that this one works out anew: what their days came to has to be worked out
-- anew as well.
{% if rates_from_scratch() %}
select
    customer_id,
    first_at as started_at,
    last_at as ended_at
from {{ ref('folded_events') }}
where 1 = 0
{% else %}
select
    sessions.customer_id,
    sessions.started_at,
    sessions.ended_at
from usage.sandbox_sessions as sessions
{{ of_changed_timelines('sessions') }}
{% endif %}
