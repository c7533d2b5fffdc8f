{# A field of an object of Stripe's, which is kept whole as JSON, as text; null where it is not there. #}
{% macro json_text(body, path) -%}
    {{ adapter.dispatch('json_text')(body, path) }}
{%- endmacro %}

{% macro duckdb__json_text(body, path) -%}
    json_extract_string({{ body }}, '$.{{ path }}')
{%- endmacro %}

{% macro spark__json_text(body, path) -%}
    get_json_object({{ body }}, '$.{{ path }}')
{%- endmacro %}

{# A row for each element of a JSON array (`array`: its text), with the text of one field of the element; no rows for null or []. In a
   select list, as `unnest`. `field`: a path like 'price.id'. #}
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

{# An instant that Stripe gives in seconds since 1970, as UTC. #}
{% macro from_unix(seconds) -%}
    {{ adapter.dispatch('from_unix')(seconds) }}
{%- endmacro %}

{% macro duckdb__from_unix(seconds) -%}
    make_timestamp(cast({{ seconds }} as bigint) * 1000000)
{%- endmacro %}

{% macro spark__from_unix(seconds) -%}
    cast(timestamp_seconds(cast({{ seconds }} as bigint)) as timestamp_ntz)
{%- endmacro %}

{# What is mirrored of one kind, in the mode that this deployment is in, from syncs that are complete; recency 1 is the latest row of an id.
   A full sync listed all there is: what only syncs before it saw is gone, and left out unless `with_gone`. Events are never gone, Stripe
   only forgets them. #}
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

{# Stripe's units of a currency as an amount: 2720000 of ISK (2 digits) -> 27200.000. Exact. `digits`: `stripe_unit_digits` of
   seeds/stripe_currencies.csv; null for a currency that is not there, and so is the amount. #}
{% macro from_stripe_units(units, digits) -%}
    cast(
        cast({{ units }} as decimal(18, 0))
        * cast(case {{ digits }} when 0 then 1 when 1 then 0.1 when 2 then 0.01 when 3 then 0.001 end as decimal(4, 3))
        as decimal(18, 3)
    )
{%- endmacro %}
