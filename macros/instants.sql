{# Instants. Inside the warehouse an instant is a timestamp without zone that means UTC; at its edges (landed files, reports)
   it is a timestamp with time zone. Both engines' sessions are in UTC; on Spark `timestamp` means the one without zone
   (profiles.yml), and `require_exact_session` refuses a session where it is not so. #}

{% macro to_utc(instant) -%}
    {{ adapter.dispatch('to_utc')(instant) }}
{%- endmacro %}

{# Not `at time zone 'UTC'`, which asks the calendar for each row: as long as all the rest of folding heartbeats. #}
{% macro duckdb__to_utc(instant) -%}
    make_timestamp(epoch_us({{ instant }}))
{%- endmacro %}

{% macro spark__to_utc(instant) -%}
    cast({{ instant }} as timestamp_ntz)
{%- endmacro %}

{% macro from_utc(instant) -%}
    {{ adapter.dispatch('from_utc')(instant) }}
{%- endmacro %}

{% macro duckdb__from_utc(instant) -%}
    make_timestamptz(epoch_us({{ instant }}))
{%- endmacro %}

{% macro spark__from_utc(instant) -%}
    cast({{ instant }} as timestamp_ltz)
{%- endmacro %}

{# Whole microseconds from one instant to another, as a big integer. #}
{% macro microseconds_between(started_at, ended_at) -%}
    {{ adapter.dispatch('microseconds_between')(started_at, ended_at) }}
{%- endmacro %}

{% macro duckdb__microseconds_between(started_at, ended_at) -%}
    (epoch_us({{ ended_at }}) - epoch_us({{ started_at }}))
{%- endmacro %}

{% macro spark__microseconds_between(started_at, ended_at) -%}
    timestampdiff(microsecond, {{ started_at }}, {{ ended_at }})
{%- endmacro %}

{# The instant a whole number of seconds (null: null) after another. #}
{% macro plus_seconds(instant, seconds) -%}
    {{ adapter.dispatch('plus_seconds')(instant, seconds) }}
{%- endmacro %}

{% macro duckdb__plus_seconds(instant, seconds) -%}
    ({{ instant }} + to_seconds({{ seconds }}))
{%- endmacro %}

{% macro spark__plus_seconds(instant, seconds) -%}
    timestampadd(second, cast({{ seconds }} as bigint), {{ instant }})
{%- endmacro %}

{# A row for each day (or month) that [started_at, ended_at) touches: its first instant; needs started_at < ended_at. #}
{% macro starts_of_each(unit, started_at, ended_at) -%}
    {{ adapter.dispatch('starts_of_each')(unit, started_at, ended_at) }}
{%- endmacro %}

{% macro duckdb__starts_of_each(unit, started_at, ended_at) -%}
    unnest(generate_series(
        date_trunc('{{ unit }}', {{ started_at }})::timestamp,
        date_trunc('{{ unit }}', {{ ended_at }} - interval 1 microsecond)::timestamp,
        interval 1 {{ unit }}
    ))
{%- endmacro %}

{% macro spark__starts_of_each(unit, started_at, ended_at) -%}
    explode(sequence(
        cast(date_trunc('{{ unit }}', {{ started_at }}) as timestamp_ntz),
        cast(date_trunc('{{ unit }}', {{ ended_at }} - interval 1 microsecond) as timestamp_ntz),
        interval 1 {{ unit }}
    ))
{%- endmacro %}

{# The billing period of an instant, as 'YYYY-MM'. #}
{% macro billing_period(instant) -%}
    {{ adapter.dispatch('billing_period')(instant) }}
{%- endmacro %}

{% macro duckdb__billing_period(instant) -%}
    strftime({{ instant }}, '%Y-%m')
{%- endmacro %}

{% macro spark__billing_period(instant) -%}
    date_format({{ instant }}, 'yyyy-MM')
{%- endmacro %}

{# No later than any instant that events and records can carry: the beginning of what has always held. #}
{% macro beginning_of_time() -%}
    cast('1970-01-01 00:00:00' as timestamp)
{%- endmacro %}

{# Later than any instant that events can carry: the end of what has no end yet. #}
{% macro end_of_time() -%}
    cast('9999-12-31 00:00:00' as timestamp)
{%- endmacro %}
