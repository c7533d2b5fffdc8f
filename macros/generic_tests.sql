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
