{# A column that says which row is meant: every row has it, and no two have the same. One step of a build where dbt's own `unique` and
   `not_null` are two. #}
{% test key(model, column_name) %}
select
    {{ column_name }},
    count(*) as rows_of_it
from {{ model }}
group by {{ column_name }}
having count(*) > 1 or {{ column_name }} is null
{% endtest %}

{# The same among the rows that begin on a day that this build has changed: the others were looked at when they came. For ids that hold
   the instant, so that the same id means the same day. #}
{% test key_on_changed_days(model, column_name, started_at='started_at') %}
select
    {{ column_name }},
    count(*) as rows_of_it
from {{ model }}
where {{ may_touch_changed_days(started_at, started_at) }}
group by {{ column_name }}
having count(*) > 1 or {{ column_name }} is null
{% endtest %}
