{# Instants. Between staging and reports an instant is a timestamp without time zone, in UTC; in landed files and reports it is a timestamp
   with time zone. Sessions of both engines are in UTC. On Spark `timestamp` is the type without time zone (profiles.yml);
   `require_exact_session` refuses other sessions. #}

{# timestamp with time zone -> UTC timestamp without time zone. #}

{% macro to_utc(instant) -%}
    {{ adapter.dispatch('to_utc')(instant) }}
{%- endmacro %}

{# Not `at time zone 'UTC'`, whose calendar look-up for each row took as long as the rest of compacting heartbeats. #}
{% macro duckdb__to_utc(instant) -%}
    make_timestamp(epoch_us({{ instant }}))
{%- endmacro %}

{% macro spark__to_utc(instant) -%}
    cast({{ instant }} as timestamp_ntz)
{%- endmacro %}

{# UTC timestamp without time zone -> timestamp with time zone. #}
{% macro from_utc(instant) -%}
    {{ adapter.dispatch('from_utc')(instant) }}
{%- endmacro %}

{% macro duckdb__from_utc(instant) -%}
    make_timestamptz(epoch_us({{ instant }}))
{%- endmacro %}

{% macro spark__from_utc(instant) -%}
    cast({{ instant }} as timestamp_ltz)
{%- endmacro %}

{# Microseconds from one instant to another: a bigint. #}
{% macro microseconds_between(started_at, ended_at) -%}
    {{ adapter.dispatch('microseconds_between')(started_at, ended_at) }}
{%- endmacro %}

{% macro duckdb__microseconds_between(started_at, ended_at) -%}
    (epoch_us({{ ended_at }}) - epoch_us({{ started_at }}))
{%- endmacro %}

{% macro spark__microseconds_between(started_at, ended_at) -%}
    timestampdiff(microsecond, {{ started_at }}, {{ ended_at }})
{%- endmacro %}

{# An instant plus a whole number of seconds; null where either is null. #}
{% macro plus_seconds(instant, seconds) -%}
    {{ adapter.dispatch('plus_seconds')(instant, seconds) }}
{%- endmacro %}

{% macro duckdb__plus_seconds(instant, seconds) -%}
    ({{ instant }} + to_seconds({{ seconds }}))
{%- endmacro %}

{% macro spark__plus_seconds(instant, seconds) -%}
    timestampadd(second, cast({{ seconds }} as bigint), {{ instant }})
{%- endmacro %}

{# An instant plus a whole number of microseconds; null where either is null. #}
{% macro plus_microseconds(instant, microseconds) -%}
    {{ adapter.dispatch('plus_microseconds')(instant, microseconds) }}
{%- endmacro %}

{% macro duckdb__plus_microseconds(instant, microseconds) -%}
    ({{ instant }} + to_microseconds({{ microseconds }}))
{%- endmacro %}

{% macro spark__plus_microseconds(instant, microseconds) -%}
    timestampadd(microsecond, cast({{ microseconds }} as bigint), {{ instant }})
{%- endmacro %}

{# Makes a row for each day (or month) that [started_at, ended_at) touches: the day's first instant. Requires started_at < ended_at. #}
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

{# The start of a period without a start: not after any instant that an event or record can have. #}
{% macro beginning_of_time() -%}
    cast('1970-01-01 00:00:00' as timestamp)
{%- endmacro %}

{# The end of a period without an end: after any instant that an event or record can have. #}
{% macro end_of_time() -%}
    cast('9999-12-31 00:00:00' as timestamp)
{%- endmacro %}
