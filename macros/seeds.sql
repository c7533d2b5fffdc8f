{# How DuckDB loads a seed: a row that ends early has no values in its last columns, so that a column that comes later needs no edit of
   the rows before it. The dialect is said, since DuckDB would otherwise guess it from rows of different lengths. #}
{% macro duckdb__load_csv_rows(model, agate_table) -%}
    {%- set sql -%}
        copy {{ this.render() }} from '{{ adapter.get_seed_file_path(model) | replace("'", "''") }}'
        (format csv, header true, delimiter ',', quote '"', escape '"', auto_detect false, null_padding true)
    {%- endset -%}
    {%- do adapter.add_query(sql, abridge_sql_log=True) -%}
    {{ return(sql) }}
{%- endmacro %}
