{# Instants. Inside the warehouse an instant is a timestamp without zone that means UTC; at its edges (landed files, reports)
   it is a timestamp with time zone. #}

{% macro to_utc(instant) -%}
    {{ adapter.dispatch('to_utc')(instant) }}
{%- endmacro %}

{% macro duckdb__to_utc(instant) -%}
    ({{ instant }} at time zone 'UTC')
{%- endmacro %}

{% macro spark__to_utc(instant) -%}
    cast(to_utc_timestamp({{ instant }}, current_timezone()) as timestamp_ntz)
{%- endmacro %}

{% macro from_utc(instant) -%}
    {{ adapter.dispatch('from_utc')(instant) }}
{%- endmacro %}

{% macro duckdb__from_utc(instant) -%}
    ({{ instant }} at time zone 'UTC')
{%- endmacro %}

{% macro spark__from_utc(instant) -%}
    convert_timezone('UTC', current_timezone(), {{ instant }})
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
    timestampadd(second, {{ seconds }}, {{ instant }})
{%- endmacro %}

{# The array of first instants of each day (or month) that [started_at, ended_at) touches; needs started_at < ended_at. #}
{% macro starts_of_each(unit, started_at, ended_at) -%}
    {{ adapter.dispatch('starts_of_each')(unit, started_at, ended_at) }}
{%- endmacro %}

{% macro duckdb__starts_of_each(unit, started_at, ended_at) -%}
    generate_series(
        date_trunc('{{ unit }}', {{ started_at }})::timestamp,
        date_trunc('{{ unit }}', {{ ended_at }} - interval 1 microsecond)::timestamp,
        interval 1 {{ unit }}
    )
{%- endmacro %}

{% macro spark__starts_of_each(unit, started_at, ended_at) -%}
    sequence(
        date_trunc('{{ unit }}', {{ started_at }}),
        date_trunc('{{ unit }}', {{ ended_at }} - interval 1 microsecond),
        interval 1 {{ unit }}
    )
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

{# Later than any instant that events can carry: the end of what has no end yet. #}
{% macro end_of_time() -%}
    cast('9999-12-31 00:00:00' as timestamp)
{%- endmacro %}
