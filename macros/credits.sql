{# Billing rules, section 6: whether a grant may pay for an open invoice: granted before the month's end, not expired when the month began, not
   voided. #}
{% macro is_usable(grants, invoices) -%}
    (
        {{ grants }}.granted_at < {{ invoices }}.period_ends_at
        and coalesce({{ grants }}.expires_at, {{ end_of_time() }}) > {{ invoices }}.period_starts_at
        and {{ grants }}.voided_at is null
    )
{%- endmacro %}

{# Billing rules, section 6: whether a negative invoice may give credit back to a grant: not expired at the month's end, not voided. #}
{% macro takes_back(grants, invoices) -%}
    (
        coalesce({{ grants }}.expires_at, {{ end_of_time() }}) > {{ invoices }}.period_ends_at
        and {{ grants }}.voided_at is null
    )
{%- endmacro %}
