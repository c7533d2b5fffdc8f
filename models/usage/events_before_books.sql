-- Billing rules, section 2: events that landed before the setting of the first billing month was moved past them. They are billed no more.
select
    events.event_id,
    events.sandbox_id,
    events.execution_id,
    events.customer_id,
    events.event_at,
    events.event_type,
    {%- for column in resource_columns() + quantity_columns() %}
    events.{{ column }},
    {%- endfor %}
    events.file_id,
    events.file_row
from {{ raw_events_of_files('files.first_at < build.books_open_at') }} as events
cross join {{ ref('stg_build_inputs') }} as build
where
    events.event_at < build.books_open_at
    and events.event_at <= build.as_of
