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

{# Whether what was observed has come to such a share of what is allowed. #}
{% macro has_reached(observed, allowed, percent) -%}
    {{ observed }} * cast(100 as decimal(3, 0)) >= {{ allowed }} * cast({{ percent }} as decimal(3, 0))
{%- endmacro %}
