{# The resource that a meter reads: its column in the events is named in the price book (meters.resource_column).
   A new meter is a seed row and a column in `resource_columns`; no new model. #}
{% macro resource_columns() -%}
    {{ return(['vcpu_count', 'memory_gb', 'storage_gb']) }}
{%- endmacro %}

{% macro metered_resource(resource_column) -%}
    case {{ resource_column }}
        {%- for column in resource_columns() %}
        when '{{ column }}' then {{ column }}
        {%- endfor %}
    end
{%- endmacro %}
