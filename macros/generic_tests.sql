{# A key: not null and unique. One step of a build, where dbt's own `unique` and `not_null` are two. #}
{% test key(model, column_name) %}
select
    {{ column_name }},
    count(*) as row_count
from {{ model }}
group by {{ column_name }}
having count(*) > 1 or {{ column_name }} is null
{% endtest %}

{# The same for rows that start on a day that this build recomputes: other rows were tested by the build that computed them. For ids that
   depend on the start, so that duplicates are on the same day. #}
{% test key_on_dirty_days(model, column_name, started_at='started_at') %}
select
    {{ column_name }},
    count(*) as row_count
from {{ model }}
where {{ may_touch_dirty_days(started_at, started_at) }}
group by {{ column_name }}
having count(*) > 1 or {{ column_name }} is null
{% endtest %}

{# The generic tests of the models that this build has written, and of views, as one query. Only in execute mode is the graph there. #}
{% macro generic_tests_in_one_query() -%}
    {%- if execute -%}
    {%- for test in graph.nodes.values() | selectattr('resource_type', 'equalto', 'test') | selectattr('test_metadata', 'defined') -%}
    {%- set model = graph.nodes[test.attached_node] -%}
    {%- if model.config.materialized == 'view' or model.unique_id in selected_resources -%}
    {%- set arguments = {} -%}
    {%- for name, value in test.test_metadata.kwargs.items() if name != 'model' -%}
        {%- do arguments.update({name: value}) -%}
    {%- endfor -%}
    {%- set failing = context['test_' ~ test.test_metadata.name](model=ref(model.name), **arguments) -%}
select check_id, failing_query, failing_rows
from (
    select
        '{{ test.unique_id }}' as check_id,
        '{{ failing | replace("'", "''") }}' as failing_query,
        count(*) as failing_rows
    from ({{ failing }}) as failing
) as counted
where failing_rows > 0
union all
    {% endif -%}
    {%- endfor -%}
    {%- endif -%}
select
    cast(null as string) as check_id,
    cast(null as string) as failing_query,
    0 as failing_rows
where false
{%- endmacro %}
