{# A layer's schema is called what dbt_project.yml calls it, with no prefix: analysts read `billing.invoices`. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
