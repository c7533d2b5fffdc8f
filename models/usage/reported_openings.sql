-- Billing rules, section 4: the instants at which a session opens because a later stop or pause reports it. Of the timelines that this build
-- recomputes and that are not plain: a plain one begins with its start.
{% set reporting -%}
(
    select distinct timelines.timeline_key
    from {{ ref('dirty_events') }} as reports
    inner join {{ ref('ordered_timelines') }} as timelines on reports.timeline_key = timelines.timeline_key
    where reports.reported_start_at is not null
)
{%- endset %}
{{ reported_openings_of(reporting, ref('dirty_events')) }}
