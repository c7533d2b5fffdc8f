{# A field of a mirrored Stripe object (JSON), as text; null where it is missing. #}
{% macro json_text(body, path) -%}
    {{ adapter.dispatch('json_text')(body, path) }}
{%- endmacro %}

{% macro duckdb__json_text(body, path) -%}
    json_extract_string({{ body }}, '$.{{ path }}')
{%- endmacro %}

{% macro spark__json_text(body, path) -%}
    get_json_object({{ body }}, '$.{{ path }}')
{%- endmacro %}

{# Makes a row for each element of a JSON array (`array`: its text) with one field of the element as text; no row for null or []. For use in a
   select list, as `unnest`. `field`: a path, as 'price.id'. #}
{% macro each_json_text(array, field) -%}
    {{ adapter.dispatch('each_json_text')(array, field) }}
{%- endmacro %}

{% macro duckdb__each_json_text(array, field) -%}
    unnest(json_extract_string({{ array }}, '$[*].{{ field }}'))
{%- endmacro %}

{% macro spark__each_json_text(array, field) -%}
    {%- set type = namespace(of='string') -%}
    {%- for name in field.split('.') | reverse -%}
        {%- set type.of = 'struct<' ~ name ~ ':' ~ type.of ~ '>' -%}
    {%- endfor -%}
    explode(from_json({{ array }}, 'array<{{ type.of }}>').{{ field }})
{%- endmacro %}

{# Seconds since 1970 -> UTC timestamp without time zone. #}
{% macro from_unix(seconds) -%}
    {{ adapter.dispatch('from_unix')(seconds) }}
{%- endmacro %}

{% macro duckdb__from_unix(seconds) -%}
    make_timestamp(cast({{ seconds }} as bigint) * 1000000)
{%- endmacro %}

{% macro spark__from_unix(seconds) -%}
    cast(timestamp_seconds(cast({{ seconds }} as bigint)) as timestamp_ntz)
{%- endmacro %}

{# Mirrored objects of one kind, of this deployment's Stripe mode and of complete syncs; recency 1 is the latest row of an object. A full sync
   lists all objects: one that only earlier syncs saw is gone from Stripe and left out, unless `with_gone`. Events are never left out: Stripe
   deletes them after 30 days. #}
{% macro mirrored(kind, with_gone=false) -%}
    (
        select
            stripe_id,
            parent_id,
            sync_id,
            is_deleted,
            body,
            list_position,
            row_number() over (partition by stripe_id order by sync_id desc) as recency
        from {{ source('stripe', kind) }}
        where
            livemode = (select is_live from {{ ref('stg_stripe_mode') }})
            and sync_id in (select sync_id from {{ ref('stg_stripe_syncs') }})
            {%- if kind != 'events' and not with_gone %}
            and sync_id >= (
                select max(sync_id) from {{ ref('stg_stripe_syncs') }}
                where is_full and is_live = (select is_live from {{ ref('stg_stripe_mode') }})
            )
            {%- endif %}
    )
{%- endmacro %}

{# Stripe's units of a currency -> amount, exact: 2720000 of ISK (2 digits) -> 27200.000. `digits`: `stripe_unit_digits` of
   seeds/stripe_currencies.csv. Null where the file lacks the currency. #}
{% macro from_stripe_units(units, digits) -%}
    cast(
        cast({{ units }} as decimal(18, 0))
        * cast(case {{ digits }} when 0 then 1 when 1 then 0.1 when 2 then 0.01 when 3 then 0.001 end as decimal(4, 3))
        as decimal(18, 3)
    )
{%- endmacro %}
