{# How dbt loads the price book on DuckDB. As dbt-duckdb does, but that a row whose last cells are missing is read with empty ones: so
   does dbt itself, for other engines, and so does pipeline/pricebook/seed_files.py. The format is given, and not guessed from the file. #}
{% macro duckdb__load_csv_rows(model, agate_table) %}
    {%- set sql -%}
        copy {{ this.render() }} from '{{ adapter.get_seed_file_path(model) | replace("'", "''") }}'
        (format csv, header true, delimiter ',', quote '"', escape '"', null_padding true, auto_detect false)
    {%- endset -%}
    {% do adapter.add_query(sql, abridge_sql_log=True) %}
    {{ return(sql) }}
{% endmacro %}
