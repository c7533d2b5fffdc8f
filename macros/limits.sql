{# Billing rules, section 8: the shares of a limit, in percent, at which somebody is told. #}
{% macro alert_thresholds() -%}
    (
        select 50 as threshold_percent
        union all
        select 80
        union all
        select 100
    )
{%- endmacro %}
