{# Loads a seed on DuckDB. Overrides dbt-duckdb's macro: missing last cells of a row are read as empty, as dbt does for other engines and
   pipeline/pricebook/seed_files.py does. The CSV format is fixed, not detected from the file. #}
{% macro duckdb__load_csv_rows(model, agate_table) %}
    {%- set sql -%}
        copy {{ this.render() }} from '{{ adapter.get_seed_file_path(model) | replace("'", "''") }}'
        (format csv, header true, delimiter ',', quote '"', escape '"', null_padding true, auto_detect false)
    {%- endset -%}
    {% do adapter.add_query(sql, abridge_sql_log=True) %}
    {{ return(sql) }}
{% endmacro %}
