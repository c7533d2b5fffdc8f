{# Tables and views are replaced in one transaction: dropped and made anew, so that a reader or a kill finds the old one or the new one.
   dbt's own way builds beside, renames twice and drops after: four more statements a model, which is a fifth of a small build's time. #}
{% materialization table, adapter='duckdb' -%}
    {{ return(replace_in_a_transaction('table')) }}
{%- endmaterialization %}

{% materialization view, adapter='duckdb' -%}
    {{ return(replace_in_a_transaction('view')) }}
{%- endmaterialization %}

{% macro replace_in_a_transaction(type) -%}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type=type) -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('main') -%}
        {%- if existing_relation is not none -%}
            drop {{ existing_relation.type }} if exists {{ existing_relation }};
        {%- endif -%}
        {%- if type == 'view' -%}
            {{ get_create_view_as_sql(target_relation, sql) }}
        {%- else -%}
            {{ get_create_table_as_sql(False, target_relation, sql) }}
        {%- endif -%}
    {%- endcall %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{%- endmacro %}

{# A kept table is made anew where nothing can be taken over. Else its pre-hook has taken away the rows of what changed, or, where a
   unique_key is given, those with the keys of the new rows go; and the new rows come, all in one transaction. #}
{% materialization incremental, adapter='duckdb' -%}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- if not is_kept() -%}
        {{ return(replace_in_a_transaction('table')) }}
    {%- endif -%}
    {%- set unique_key = config.get('unique_key') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('main') -%}
        {%- if unique_key -%}
            create or replace temp table arriving as {{ sql }};
            delete from {{ existing_relation }} as standing
            using (select distinct {{ unique_key | join(', ') }} from arriving) as replaced
            where
                {%- for column in unique_key %}
                {{ 'and ' if not loop.first }}standing.{{ column }} = replaced.{{ column }}
                {%- endfor %};
            insert into {{ existing_relation }} by name select * from arriving;
            drop table arriving
        {%- else -%}
            insert into {{ existing_relation }} by name {{ sql }}
        {%- endif -%}
    {%- endcall %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [existing_relation]}) }}
{%- endmaterialization %}
