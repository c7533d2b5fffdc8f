{# Numbers as people read them, for the descriptions of invoice lines: in hours, with separators. A close freezes these texts, so
   they are made of exact decimals and text alone: no float, no locale, the same bytes on DuckDB and on Spark. #}

{# The text of a whole number >= 0 with separators: '1234567' -> '1,234,567'. #}
{% macro with_separators(digits) -%}
    {{ adapter.dispatch('with_separators')(digits) }}
{%- endmacro %}

{% macro duckdb__with_separators(digits) -%}
    trim(leading ',' from reverse(regexp_replace(reverse({{ digits }}), '([0-9]{3})', '\1,', 'g')))
{%- endmacro %}

{% macro spark__with_separators(digits) -%}
    trim(leading ',' from reverse(regexp_replace(reverse({{ digits }}), '([0-9]{3})', '$1,')))
{%- endmacro %}

{# A decimal with separators and without trailing zeros, exact: 5000 -> '5,000'; -1234.50 -> '-1,234.5'. #}
{% macro readable_number(number) -%}
    {%- set text = plain_number('abs(' ~ number ~ ')') -%}
    case when {{ number }} < 0 then '-' else '' end
    || {{ with_separators("split_part(" ~ text ~ ", '.', 1)") }}
    || substr({{ text }}, length(split_part({{ text }}, '.', 1)) + 1)
{%- endmacro %}

{# A quantity in the unit that people use, rounded half away from zero to one decimal:
       201015720 vCPU-second -> '55,837.7 vCPU-hours'; below an hour, exact: '1,800 vCPU-seconds'
       12345678 token -> '12.3 M tokens'; below a million, exact: '45,678 tokens' #}
{% macro readable_quantity(quantity, unit) -%}
    case
        when {{ unit }} like '%-second' and abs({{ quantity }}) >= 3600
            then {{ tenths_of(quantity, 3600) }} || ' ' || substr({{ unit }}, 1, length({{ unit }}) - 6) || 'hours'
        when {{ unit }} not like '%-second' and abs({{ quantity }}) >= 1000000
            then {{ tenths_of(quantity, 1000000) }} || ' M ' || {{ unit }} || 's'
        else {{ readable_number(quantity) }} || ' ' || {{ unit }} || 's'
    end
{%- endmacro %}

{# quantity / size with one decimal: 201015720 / 3600 -> '55,837.7'. Whether a tenth is rounded up depends only on the whole units of
   the quantity, since half a tenth of 3600 or of a million is whole. #}
{% macro tenths_of(quantity, size) -%}
    {%- set whole_units = 'cast(floor(abs(cast(' ~ quantity ~ ' as decimal(38, 12)))) as decimal(38, 0))' -%}
    {%- set tenths = 'cast(' ~ divide_down(whole_units ~ ' + ' ~ (size // 20), size // 10) ~ ' as string)' -%}
    case when {{ quantity }} < 0 then '-' else '' end
    || {{ with_separators('substr(' ~ tenths ~ ', 1, length(' ~ tenths ~ ') - 1)') }}
    || '.' || substr({{ tenths }}, length({{ tenths }}))
{%- endmacro %}
