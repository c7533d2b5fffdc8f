{# Spark's type names, seeds and casts, and the check of a session's settings. #}

{# Type names in the yml are DuckDB's. Spark has other names for text and for timestamps with time zone. #}
{% macro engine_type(type) -%}
    {{ return(adapter.dispatch('engine_type')(type)) }}
{%- endmacro %}

{% macro default__engine_type(type) -%}
    {{ return(type) }}
{%- endmacro %}

{% macro spark__engine_type(type) -%}
    {{ return({'varchar': 'string', 'timestamptz': 'timestamp_ltz', 'timestamp with time zone': 'timestamp_ltz'}.get(type, type)) }}
{%- endmacro %}

{# dbt's casts of unit test fixtures and of contracts' types. #}
{% macro spark__cast(field, type) -%}
    cast({{ field }} as {{ spark__engine_type(type) }})
{%- endmacro %}

{% macro spark__safe_cast(field, type) -%}
    cast({{ field }} as {{ spark__engine_type(type) }})
{%- endmacro %}

{# Seeds as text, cast to the types in their yml. dbt-spark's own macro would load an empty cell as the text 'None'. #}
{% macro spark__create_csv_table(model, agate_table) -%}
    {%- set types = model['config'].get('column_types', {}) -%}
    {%- set sql -%}
        create table {{ this }} (
            {%- for column in agate_table.column_names %}
            {{ column }} {{ spark__engine_type(types[column]) }}{{ ',' if not loop.last }}
            {%- endfor %}
        )
    {%- endset -%}
    {%- call statement('_') -%}{{ sql }}{%- endcall -%}
    {{ return(sql) }}
{%- endmacro %}

{% macro spark__load_csv_rows(model, agate_table) -%}
    {%- set types = model['config'].get('column_types', {}) -%}
    {%- if agate_table.rows | length == 0 -%}{{ return('') }}{%- endif -%}
    {%- set sql -%}
        insert into {{ this }}
        select
            {%- for column in agate_table.column_names %}
            cast({{ column }} as {{ spark__engine_type(types[column]) }}) as {{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        from values
            {%- for row in agate_table.rows %}
            (
                {%- for cell in row -%}
                {{ "null" if cell is none else "'" ~ (cell | string | replace("\\", "\\\\") | replace("'", "\\'")) ~ "'" }}
                {{- ', ' if not loop.last }}
                {%- endfor -%}
            ){{ ',' if not loop.last }}
            {%- endfor %}
        as cells ({{ agate_table.column_names | join(', ') }})
    {%- endset -%}
    {%- do adapter.add_query(sql, abridge_sql_log=True) -%}
    {{ return(sql) }}
{%- endmacro %}

{# Run before a build: refuses a session in which overflow is no error, products lose digits, or instants are not UTC. #}
{% macro require_exact_session() -%}
    {%- if execute -%}{{ adapter.dispatch('require_exact_session')() }}{%- endif -%}
{%- endmacro %}

{% macro default__require_exact_session() -%}
{%- endmacro %}

{% macro spark__require_exact_session() -%}
    {%- set needed = {
        'spark.sql.ansi.enabled': 'true',
        'spark.sql.decimalOperations.allowPrecisionLoss': 'false',
        'spark.sql.session.timeZone': 'UTC',
        'spark.sql.timestampType': 'TIMESTAMP_NTZ',
        'spark.sql.parquet.outputTimestampType': 'TIMESTAMP_MICROS',
    } -%}
    {%- for setting, value in needed.items() -%}
        {%- set found = run_query('set ' ~ setting).rows[0][1] -%}
        {%- if found != value -%}
            {{ exceptions.raise_compiler_error(
                'The Spark session has ' ~ setting ~ ' = ' ~ found ~ ', and reports are the same with ' ~ value
                ~ ' alone. Build with `python -m pipeline.warehouse.spark`, which sees to it; start a server with it (docs/operate/spark.md).'
            ) }}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}
