{# A source as SQL reads it. On DuckDB dbt renders `external_location` of models/staging/_*_sources.yml; Spark reads the same files by paths of
   its own. #}
{% macro source(source_name, table_name) -%}
    {%- set relation = builtins.source(source_name, table_name) -%}
    {{ return(adapter.dispatch('source_relation')(relation, source_name, table_name)) }}
{%- endmacro %}

{% macro default__source_relation(relation, source_name, table_name) -%}
    {{ return(relation) }}
{%- endmacro %}

{# Spark ignores files whose names begin with `_`, except `_common_metadata`, which it reads the columns from. So it reads that file, which is
   written before a build, and the source's own files: in its folder, or in folders by day. #}
{% macro spark__source_relation(relation, source_name, table_name) -%}
    {%- if not execute -%}{{ return(relation) }}{%- endif -%}
    {%- set meta = source_meta(source_name, table_name) -%}
    {%- set path = meta.get('spark_file', meta.get('file')) -%}
    {%- if not path -%}
        {%- set path = '{spark/columns/' ~ meta.folder ~ '/_common_metadata,' ~ meta.folder ~ '/*.parquet,' ~ meta.folder ~ '/*/*.parquet}' -%}
    {%- endif -%}
    {{ return('parquet.`' ~ spark_home() ~ '/' ~ path | replace('{name}', table_name) ~ '`') }}
{%- endmacro %}
