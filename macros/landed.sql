{# All Parquet files of one landed or ledger collection, by its folder under the home directory.
   A file landed before a column came reads as null there. Each collection holds a zero-row `_schema.parquet`, so the pattern always matches something. #}
{% macro landed(collection) -%}
    {{ adapter.dispatch('landed')(collection) }}
{%- endmacro %}

{% macro duckdb__landed(collection) -%}
    read_parquet('{{ collection }}/**/*.parquet', hive_partitioning = false, union_by_name = true)
{%- endmacro %}

{# Spark passes over files whose names begin with `_`, but for `_common_metadata`, which it takes the columns from. So it looks at
   that file, written before a build, and at the collection itself, in its folder or in folders by day. #}
{% macro spark__landed(collection) -%}
    parquet.`{{ spark_home() }}/{spark/columns/{{ collection }}/_common_metadata,{{ collection }}/*.parquet,{{ collection }}/*/*.parquet}`
{%- endmacro %}

{# The home as Spark's workers see it: the same path, or where it is kept for them in object storage. #}
{% macro spark_home() -%}
    {{ env_var('BILLHOUSE_SPARK_HOME', env_var('BILLHOUSE_HOME', './var')) }}
{%- endmacro %}

{# What a build is given. An engine has its own, so that it can build as of another instant than the other. #}
{% macro build_inputs() -%}
    {{ adapter.dispatch('build_inputs')() }}
{%- endmacro %}

{% macro duckdb__build_inputs() -%}
    {{ landed('build') }}
{%- endmacro %}

{% macro spark__build_inputs() -%}
    parquet.`{{ spark_home() }}/spark/build/inputs.parquet`
{%- endmacro %}

{# One table of every close in the ledger: ledger/closes/<period>/<table>.parquet. The folder `_schema` holds zero-row files, so the
   pattern always matches something. #}
{% macro ledger_table(table) -%}
    {{ adapter.dispatch('ledger_table')(table) }}
{%- endmacro %}

{% macro duckdb__ledger_table(table) -%}
    read_parquet('ledger/closes/*/{{ table }}.parquet', hive_partitioning = false)
{%- endmacro %}

{% macro spark__ledger_table(table) -%}
    parquet.`{{ spark_home() }}/ledger/closes/*/{{ table }}.parquet`
{%- endmacro %}

{# How many rows each raw file of usage has, by the file's id: from the files' footers where the engine can read them alone. #}
{% macro usage_file_rows() -%}
    {{ adapter.dispatch('usage_file_rows')() }}
{%- endmacro %}

{% macro duckdb__usage_file_rows() -%}
    (
        select
            parse_filename(file_name, true) as file_id,
            num_rows as row_count
        from parquet_file_metadata('raw/usage_events/**/*.parquet')
    )
{%- endmacro %}

{% macro spark__usage_file_rows() -%}
    (
        select
            file_id,
            count(*) as row_count
        from {{ landed('raw/usage_events') }}
        group by file_id
    )
{%- endmacro %}

{# A list of files for DuckDB to read, by their paths as they are: a home may be called `it's [mine]`, and is no pattern. #}
{% macro listed_files(paths) -%}
    {%- set literals = [] -%}
    {%- for path in paths -%}
        {%- do literals.append("'" ~ modules.re.sub('[*?[]', '[\\g<0>]', path).replace("'", "''") ~ "'") -%}
    {%- endfor -%}
    [{{ literals | join(', ') }}]
{%- endmacro %}
