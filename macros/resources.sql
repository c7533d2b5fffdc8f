{# The event columns that meters read (meters.event_column). A resource is held over time: its meter's quantity is resource x seconds. A
   quantity is summed over the events that carry it. A new meter needs rows in the price book, and a column here, in staging and in landing's
   specification; no new model. #}
{% macro resource_columns() -%}
    {{ return(['vcpu_count', 'memory_gb', 'storage_gb', 'gpu_count']) }}
{%- endmacro %}

{% macro quantity_columns() -%}
    {{ return(['tokens']) }}
{%- endmacro %}

{# The resources that a plan's default sandbox has. Of other resources a session holds 0 unless an event names them. #}
{% macro default_resource_columns() -%}
    {{ return(['vcpu_count', 'memory_gb', 'storage_gb']) }}
{%- endmacro %}

{# The columns with what a stop or a pause names: the resources of the session that it ends or pauses. #}
{% macro closing_resource_columns() -%}
    {%- set columns = [] -%}
    {%- for resource in resource_columns() -%}{%- do columns.append('closing_' ~ resource) -%}{%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}

{# What a paused session still holds. Of all other resources it holds 0. Billing rules, section 4. #}
{% macro resources_held_while_paused() -%}
    {{ return(['storage_gb']) }}
{%- endmacro %}

{# The value of the column whose name `event_column` holds; null for a column that is not in `columns`. #}
{% macro metered(event_column, columns) -%}
    case {{ event_column }}
        {%- for column in columns %}
        when '{{ column }}' then {{ column }}
        {%- endfor %}
    end
{%- endmacro %}

{# The quantity of a meter in a row of `usage_totals`, in the meter's unit: resource x seconds, or the sum of a quantity. #}
{% macro metered_quantity(meters, totals) -%}
    case {{ meters }}.event_column
        {%- for resource in resource_columns() %}
        when '{{ resource }}' then {{ to_unit_seconds(totals ~ '.' ~ resource ~ '_microseconds') }}
        {%- endfor %}
        {%- for quantity in quantity_columns() %}
        when '{{ quantity }}' then cast({{ totals }}.{{ quantity }} as decimal(38, 12))
        {%- endfor %}
    end
{%- endmacro %}
