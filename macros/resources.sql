{# What meters read. A meter names its column in the events (meters.event_column): a resource is held over time, and its quantity
   is resource x seconds; a quantity is summed over the events that carry it. A new meter is rows in the price book and a column
   here, in staging and in landing's specification; no new model. #}
{% macro resource_columns() -%}
    {{ return(['vcpu_count', 'memory_gb', 'storage_gb', 'gpu_count']) }}
{%- endmacro %}

{% macro quantity_columns() -%}
    {{ return(['tokens']) }}
{%- endmacro %}

{# The resources of a plan's default sandbox; of any other it holds none. #}
{% macro default_resource_columns() -%}
    {{ return(['vcpu_count', 'memory_gb', 'storage_gb']) }}
{%- endmacro %}

{% macro metered(event_column, columns) -%}
    case {{ event_column }}
        {%- for column in columns %}
        when '{{ column }}' then {{ column }}
        {%- endfor %}
    end
{%- endmacro %}
