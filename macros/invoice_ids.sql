{# Deterministic: the same customer, currency and month have the same invoice id, however often it is computed. #}
{% macro invoice_id(period, customer_id, currency) -%}
    'INV-' || {{ period }} || '-' || upper(substr(md5({{ customer_id }} || chr(31) || {{ currency }}), 1, 12))
{%- endmacro %}
