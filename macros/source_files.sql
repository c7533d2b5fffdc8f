{# What the yml says of a source. Only in execute mode is the graph there to look it up. #}
{% macro source_meta(source_name, table_name) -%}
    {{ return(graph.sources['source.' ~ project_name ~ '.' ~ source_name ~ '.' ~ table_name].meta) }}
{%- endmacro %}

{# The folder of a source, for what reads some of its files only; a dependency on the source, like `source`. #}
{% macro source_folder(source_name, table_name) -%}
    {%- do source(source_name, table_name) -%}
    {{ return(source_meta(source_name, table_name).folder | replace('{name}', table_name) if execute else '') }}
{%- endmacro %}

{# The home as Spark's workers see it: the same path, or its copy in object storage. #}
{% macro spark_home() -%}
    {{ return(env_var('BILLHOUSE_SPARK_HOME', env_var('BILLHOUSE_HOME', './var'))) }}
{%- endmacro %}

{# The number of rows of each raw file of usage, by the file's id: from the files' footers where the engine can read them alone. #}
{% macro usage_file_rows() -%}
    {{ adapter.dispatch('usage_file_rows')() }}
{%- endmacro %}

{% macro duckdb__usage_file_rows() -%}
    (
        select
            parse_filename(file_name, true) as file_id,
            num_rows as row_count
        from parquet_file_metadata('{{ source_folder('raw', 'usage_events') }}/**/*.parquet')
    )
{%- endmacro %}

{% macro spark__usage_file_rows() -%}
    (
        select
            file_id,
            count(*) as row_count
        from {{ source('raw', 'usage_events') }}
        group by file_id
    )
{%- endmacro %}

{# A list of files for DuckDB to read. Characters of patterns in the paths are escaped: a home may be called `it's [mine]`. #}
{% macro listed_files(paths) -%}
    {%- set literals = [] -%}
    {%- for path in paths -%}
        {%- do literals.append("'" ~ modules.re.sub('[*?[]', '[\\g<0>]', path).replace("'", "''") ~ "'") -%}
    {%- endfor -%}
    [{{ literals | join(', ') }}]
{%- endmacro %}
