{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    full_refresh_when='closes_have_changed',
    pre_hook="{{ delete_dirty_customer_months('existing.period not in (select period from ' ~ ref('stg_closes') ~ ')') }}",
    post_hook=[
        "{{ record_parts('select first_date from ' ~ ref('dirty_customer_months')) }}",
        "{{ record_closes() }}"
    ]
) }}
-- depends_on: {{ ref('dirty_customer_months') }}
-- depends_on: {{ ref('stg_closes') }}
-- Days of closed months are read from the ledger and never change. Days of drafts are replaced for the dirty months, and all of
-- them after another month was closed.
{% set columns = [
    'customer_id', 'usage_date', 'period', 'plan_id', 'meter_id', 'rate_id', 'quantity', 'unit', 'amount', 'currency', 'invoice_id',
    'line_id'
] %}

select
    days.{{ columns | join(',\n    days.') }}
from {{ ref('draft_usage_days') }} as days
{% if reuses_rows() %}{{ only_dirty_customer_months('days') }}{% endif %}

union all

select
    {{ columns | join(',\n    ') }}
from {{ ref('stg_billed_usage_days') }}
{{ 'where 1 = 0' if reuses_rows() }}
