{# Billing rules, section 6: whether a grant may pay anything of an open invoice: given before the month's end, not expired before the
   month, not voided. #}
{% macro is_usable(grants, invoices) -%}
    (
        {{ grants }}.granted_at < {{ invoices }}.period_ends_at
        and coalesce({{ grants }}.expires_at, {{ end_of_time() }}) > {{ invoices }}.period_starts_at
        and {{ grants }}.voided_at is null
    )
{%- endmacro %}

{# Whether an open invoice below zero may give credit back to a grant: one that has not expired at the month's end and is not voided. #}
{% macro takes_back(grants, invoices) -%}
    (
        coalesce({{ grants }}.expires_at, {{ end_of_time() }}) > {{ invoices }}.period_ends_at
        and {{ grants }}.voided_at is null
    )
{%- endmacro %}
