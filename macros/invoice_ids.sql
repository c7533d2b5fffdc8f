{# The invoice id of a month, customer and currency: deterministic, INV-<period>-<hash>. #}
{% macro invoice_id(period, customer_id, currency) -%}
    'INV-' || {{ period }} || '-' || upper(substr(md5({{ customer_id }} || chr(31) || {{ currency }}), 1, 12))
{%- endmacro %}
