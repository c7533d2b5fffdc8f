{# Money and quantities (billing rules, section 2): exact decimals, cast before and after each operation, because engines differ in the type of
   a product. Overflow is an error on both engines. #}

{# Resource, DECIMAL(18,6) units, x microseconds -> unit-microseconds, exact. #}
{% macro unit_microseconds(resource, microseconds) -%}
    cast(cast({{ resource }} as decimal(38, 6)) * cast({{ microseconds }} as decimal(18, 0)) as decimal(38, 6))
{%- endmacro %}

{# Unit-microseconds -> unit-seconds with 12 decimals, exact. #}
{% macro to_unit_seconds(unit_microseconds) -%}
    cast(cast({{ unit_microseconds }} as decimal(38, 6)) * cast(0.000001 as decimal(6, 6)) as decimal(38, 12))
{%- endmacro %}

{# Quantity (12 decimals) x unit amount (12 decimals), exact to the 24th decimal. #}
{% macro exact_product(quantity, unit_amount) -%}
    cast(cast({{ quantity }} as decimal(38, 12)) * cast({{ unit_amount }} as decimal(38, 12)) as decimal(38, 24))
{%- endmacro %}

{# An exact amount -> rounded once, half away from zero, to the currency's minor unit; in whole minor units. #}
{% macro to_minor_units(exact_amount, minor_units_per_unit) -%}
    cast(
        round(cast({{ exact_amount }} as decimal(38, 24)) * cast({{ minor_units_per_unit }} as decimal(4, 0)), 0)
        as decimal(38, 0)
    )
{%- endmacro %}

{# Whole minor units (cents) -> an amount of money, DECIMAL(18,3). #}
{% macro from_minor_units(minor_units, minor_unit_digits) -%}
    cast(
        cast({{ minor_units }} as decimal(38, 0)) * case {{ minor_unit_digits }}
            when 0 then cast(1 as decimal(4, 3))
            when 1 then cast(0.1 as decimal(4, 3))
            when 2 then cast(0.01 as decimal(4, 3))
            when 3 then cast(0.001 as decimal(4, 3))
        end
        as decimal(18, 3)
    )
{%- endmacro %}

{# Whole numbers: numerator / denominator, rounded half away from zero. The denominator is positive. #}
{% macro divide_rounding_half_away(numerator, denominator) -%}
    {{ adapter.dispatch('divide_rounding_half_away')(numerator, denominator) }}
{%- endmacro %}

{% macro duckdb__divide_rounding_half_away(numerator, denominator) -%}
    (
        sign({{ numerator }})
        * ((2 * abs(cast({{ numerator }} as hugeint)) + cast({{ denominator }} as hugeint)) // (2 * cast({{ denominator }} as hugeint)))
    )
{%- endmacro %}

{% macro spark__divide_rounding_half_away(numerator, denominator) -%}
    (
        case when {{ numerator }} < 0 then -1 else 1 end -- sign() is a float here.
        * {{ spark__divide_down(
            '(2 * abs(cast(' ~ numerator ~ ' as decimal(38, 0))) + cast(' ~ denominator ~ ' as decimal(38, 0)))',
            '(2 * cast(' ~ denominator ~ ' as decimal(38, 0)))'
        ) }}
    )
{%- endmacro %}

{# Whole numbers: the integer part of numerator / denominator, both not negative. #}
{% macro divide_down(numerator, denominator) -%}
    {{ adapter.dispatch('divide_down')(numerator, denominator) }}
{%- endmacro %}

{% macro duckdb__divide_down(numerator, denominator) -%}
    (cast({{ numerator }} as hugeint) // cast({{ denominator }} as hugeint))
{%- endmacro %}

{# Not `div`, which cuts a quotient to 64 bits without an error. The remainder is subtracted first, so that the division is exact. #}
{% macro spark__divide_down(numerator, denominator) -%}
    cast(
        (
            cast({{ numerator }} as decimal(38, 0))
            - cast({{ numerator }} as decimal(38, 0)) % cast({{ denominator }} as decimal(38, 0))
        ) / cast({{ denominator }} as decimal(38, 0)) as decimal(38, 0)
    )
{%- endmacro %}

{# The price of one unit for list amounts; 0 of a meter with an allowance, tiers or packages, which has no price for one session or sandbox.
   `rate`: the alias of a row of `rates`. #}
{% macro list_unit_price(rate) -%}
    case
        when {{ rate }}.allowance_level = 0 and {{ rate }}.charge_model = 'per_unit' then {{ rate }}.unit_amount
        else cast(0 as decimal(38, 12))
    end
{%- endmacro %}

{# List amount of a quantity: quantity x unit price, unrounded. #}
{% macro list_price(quantity, rate) -%}
    {{ exact_product(quantity, list_unit_price(rate)) }}
{%- endmacro %}

{# A decimal without trailing zeros: 0.000014, not 0.000014000000. #}
{% macro plain_number(number) -%}
    trim(trailing '.' from trim(trailing '0' from cast({{ number }} as string)))
{%- endmacro %}
