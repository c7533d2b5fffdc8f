{# What needs its own last result, round after round: opening rows, and a query that makes each round's rows from those of the round
   before. DuckDB has recursive queries for it. Spark's allow neither windows nor sums, so that a table gets its rounds one by one.

   {% call(before) in_rounds(ref('opening')) %} select ... from {{ before }} ... {% endcall %}

   The model says in its config, for Spark, where the rounds begin (`meta.opening`) and which column numbers them (`meta.round`). #}
{% macro in_rounds(opening) -%}
{%- if target.type == 'spark' -%}
{{ caller(this.identifier ~ '__before') }}
{%- else -%}
with recursive

rounds as (

    select * from {{ opening }}

    union all

    (
        {{ caller('rounds') | indent(8) }}
    )

)

select * from rounds
{%- endif -%}
{%- endmacro %}

{% materialization rounds, adapter='spark' -%}
    {%- set opening = ref(config.get('meta')['opening']) -%}
    {%- set round = config.get('meta')['round'] -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- if existing_relation is not none -%}{%- do adapter.drop_relation(existing_relation) -%}{%- endif -%}
    {% call statement('main') -%}
        create table {{ target_relation }} as select * from {{ opening }}
    {%- endcall %}
    {%- set state = namespace(number=0, rows=1) -%}
    {%- for _ in range(10000) -%} {# More rounds than there will ever be: Jinja knows no `while`. #}
        {%- if state.rows > 0 -%}
            {%- do run_query(
                'create or replace temporary view ' ~ this.identifier ~ '__before as select * from ' ~ target_relation
                ~ ' where ' ~ round ~ ' = ' ~ state.number
            ) -%}
            {%- do run_query('insert into ' ~ target_relation ~ ' ' ~ sql) -%}
            {%- set state.number = state.number + 1 -%}
            {%- set counted = run_query('select count(*) from ' ~ target_relation ~ ' where ' ~ round ~ ' = ' ~ state.number) -%}
            {%- set state.rows = counted.rows[0][0] -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}
