{# The generic tests of all models (keys, not null, accepted values) in one query: a build runs this instead of a step for each of them. A row
   for each that fails, with its query. Tables that this build did not write were tested by the build that wrote them.
   tests/models/test_column_rules.py compares the list of models with the yml. #}
{%- for model in [
    'alerts', 'billing_credit_grants', 'billing_ignored_events', 'billing_limit_breaches', 'billing_plans', 'billing_rates',
    'billing_usage_alerts', 'credit_grants', 'customer_accounts', 'customer_balances', 'customer_currencies', 'customer_first_events',
    'customer_records', 'customers',
    'draft_invoice_lines', 'draft_invoices', 'due_lines', 'fees', 'invoice_lines', 'invoices', 'issued_credit_notes', 'journal',
    'landed_files', 'price_versions', 'receivables', 'sandbox_sessions', 'sessions', 'stg_landed_files',
    'stg_stripe_subscriptions', 'stripe_reconciliation', 'stripe_subscriptions',
] -%}
    {%- do ref(model) -%}
{%- endfor -%}
{%- do ref('dirty_customer_days') -%}  {#- for key_on_dirty_days -#}
{{ generic_tests_in_one_query() }}
