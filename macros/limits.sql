{# Billing rules, section 8: the thresholds of alerts, in percent of a limit. #}
{% macro alert_thresholds() -%}
    (
        select 50 as threshold_percent
        union all
        select 80
        union all
        select 100
    )
{%- endmacro %}

{# Billing rules, section 8: whether an observed value has reached a threshold (in percent) of a limit. #}
{% macro has_reached(observed, allowed, percent) -%}
    {{ observed }} * cast(100 as decimal(3, 0)) >= {{ allowed }} * cast({{ percent }} as decimal(3, 0))
{%- endmacro %}

{# Whether a session with pauses has run for so many microseconds within a row of running_spans. #}
{% macro reaches_within_span(microseconds, spans) -%}
    (
        {{ spans }}.ran_before_microseconds < {{ microseconds }}
        and {{ spans }}.ran_before_microseconds + {{ microseconds_between(spans ~ '.started_at', spans ~ '.ended_at') }} >= {{ microseconds }}
    )
{%- endmacro %}
