{# Keys that models join, group and sort by instead of texts: 128 bits of MD5, a number where the engine has one. Never shown to a person: reports have
   the texts. #}

{# The key of a timeline: a sandbox and an execution ('' where the events name none). #}
{% macro timeline_key(sandbox_id, execution_id) -%}
    {{ hashed_key(sandbox_id ~ ' || chr(31) || ' ~ execution_id) }}
{%- endmacro %}

{# The text that identifies a session, of which session_id and session_key are the MD5. #}
{% macro session_text() -%}
    sandbox_id || chr(31) || execution_id || chr(31)
    || cast({{ microseconds_between("cast('1970-01-01 00:00:00' as timestamp)", 'started_at') }} as string)
{%- endmacro %}

{% macro hashed_key(text) -%}
    {{ adapter.dispatch('hashed_key')(text) }}
{%- endmacro %}

{% macro duckdb__hashed_key(text) -%}
    md5_number({{ text }})
{%- endmacro %}

{% macro spark__hashed_key(text) -%}
    md5({{ text }})
{%- endmacro %}

{# A key without a value. #}
{% macro no_key() -%}
    {{ adapter.dispatch('no_key')() }}
{%- endmacro %}

{% macro duckdb__no_key() -%}
    cast(null as uhugeint)
{%- endmacro %}

{% macro spark__no_key() -%}
    cast(null as string)
{%- endmacro %}
