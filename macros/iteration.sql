{# A query whose rows depend on its own earlier rows, step by step: opening rows (step 0), and a query that computes the rows of a step from
   those of the step before. On DuckDB a recursive query. Spark's recursive queries allow neither windows nor sums: there a
   materialization inserts one step after another into a table.

   {% call(before) iterate(ref('opening')) %} select ... from {{ before }} ... {% endcall %}

   For Spark the model's config names the model with the opening rows (`meta.opening`) and the column with the step's number (`meta.step`). #}
{% macro iterate(opening) -%}
{%- if target.type == 'spark' -%}
{{ caller(this.identifier ~ '__before') }}
{%- else -%}
with recursive

steps as (

    select * from {{ opening }}

    union all

    (
        {{ caller('steps') | indent(8) }}
    )

)

select * from steps
{%- endif -%}
{%- endmacro %}

{% materialization iteration, adapter='spark' -%}
    {%- set opening = ref(config.get('meta')['opening']) -%}
    {%- set step = config.get('meta')['step'] -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing_relation = load_cached_relation(this) -%}
    {%- if existing_relation is not none -%}{%- do adapter.drop_relation(existing_relation) -%}{%- endif -%}
    {% call statement('main') -%}
        create table {{ target_relation }} as select * from {{ opening }}
    {%- endcall %}
    {%- set state = namespace(number=0, rows=1) -%}
    {%- for _ in range(10000) -%} {# More steps than any history has: Jinja has no `while`. #}
        {%- if state.rows > 0 -%}
            {%- do run_query(
                'create or replace temporary view ' ~ this.identifier ~ '__before as select * from ' ~ target_relation
                ~ ' where ' ~ step ~ ' = ' ~ state.number
            ) -%}
            {%- do run_query('insert into ' ~ target_relation ~ ' ' ~ sql) -%}
            {%- set state.number = state.number + 1 -%}
            {%- set counted = run_query('select count(*) from ' ~ target_relation ~ ' where ' ~ step ~ ' = ' ~ state.number) -%}
            {%- set state.rows = counted.rows[0][0] -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}
