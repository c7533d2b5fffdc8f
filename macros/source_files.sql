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

{# The raw files of usage that have the rows of several landed files (pipeline/landing/merge_raw_files.py), of the days that satisfy a condition on
   `event_date`. #}
{% macro merged_usage_files(condition='true') -%}
    {%- set files = [] -%}
    {%- if execute -%}
        {%- set found = run_query(
            "select path from (select file as path, " ~ event_date_of('file') ~ " as event_date"
            ~ " from glob('" ~ source_folder('raw', 'usage_events') ~ "/event_date=*/merged-*.parquet')) where " ~ condition ~ " order by path"
        ) -%}
        {%- for row in found.rows -%}{%- do files.append(row[0]) -%}{%- endfor -%}
    {%- endif -%}
    {{ return(files) }}
{%- endmacro %}

{# The day of a raw file of usage, by its path. #}
{% macro event_date_of(path) -%}
    cast(regexp_extract({{ path }}, 'event_date=([0-9-]+)', 1) as date)
{%- endmacro %}

{# The raw files of usage (`path`, `event_date`), a row per landed file that each has rows of. A file that landing wrote is named by its id; a
   merged one lists the ids in its footer. Merged files only of the days that satisfy a condition. #}
{% macro usage_files(days_of_merged='true') -%}
    {%- set merged = merged_usage_files(days_of_merged) -%}
    (
        select
            file as path,
            {{ event_date_of('file') }} as event_date,
            parse_filename(file, true) as file_id
        from glob('{{ source_folder('raw', 'usage_events') }}/event_date=*/*.parquet')
        where not starts_with(parse_filename(file), 'merged-')
        {%- if merged %}
        union all
        select
            file_name as path,
            {{ event_date_of('file_name') }} as event_date,
            decode(key) as file_id
        from parquet_kv_metadata({{ listed_files(merged) }})
        {%- endif %}
    )
{%- endmacro %}

{# The number of rows of each raw file of usage, by the landed file's id: from the files' footers where the engine can read them alone. #}
{% macro usage_file_rows() -%}
    {{ adapter.dispatch('usage_file_rows')() }}
{%- endmacro %}

{% macro duckdb__usage_file_rows() -%}
    {%- set merged = merged_usage_files() -%}
    (
        with

        files as (

            select
                file_name,
                num_rows as row_count
            from parquet_file_metadata('{{ source_folder('raw', 'usage_events') }}/**/*.parquet')

        ){% if merged %},

        merged_rows as (

            select
                file_name,
                decode(key) as file_id,
                cast(decode(value) as bigint) as row_count
            from parquet_kv_metadata({{ listed_files(merged) }})

        ),

        -- A merged file with other rows than its footer lists must not pass: the difference counts for one of its landed files.
        differences as (

            select
                min(merged_rows.file_id) as file_id,
                any_value(files.row_count) - sum(merged_rows.row_count) as row_count
            from merged_rows
            inner join files on merged_rows.file_name = files.file_name
            group by merged_rows.file_name

        )
        {%- endif %}

        select
            parse_filename(file_name, true) as file_id,
            row_count
        from files
        {%- if merged %}
        union all
        select
            file_id,
            row_count
        from merged_rows
        union all
        select
            file_id,
            row_count
        from differences
        {%- endif %}
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
