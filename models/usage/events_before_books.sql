-- Billing rules, section 2: events that landed while BILLHOUSE_FIRST_BILLING_MONTH was an earlier month. They are no longer billed.
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
