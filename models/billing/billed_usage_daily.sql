{{ config(
    materialized='kept' if target.type == 'duckdb' else 'table',
    starts_anew='billed_days_start_anew',
    pre_hook="{{ forget_changed_months('standing.period not in (select period from ' ~ ref('stg_closes') ~ ')') }}",
    post_hook=[
        "{{ note_parts('select first_date from ' ~ ref('changed_months')) }}",
        "{{ remember_closes() }}"
    ]
) }}
-- depends_on: {{ ref('changed_months') }}
-- depends_on: {{ ref('stg_closes') }}
-- The days of closed months are the ledger's, and stay as they are; those of drafts come anew for the months that changed, and all of
-- them when another month has closed.
{% set columns = [
    'customer_id', 'usage_date', 'period', 'plan_id', 'meter_id', 'rate_id', 'quantity', 'unit', 'amount', 'currency', 'invoice_id',
    'line_id'
] %}

select
    days.{{ columns | join(',\n    days.') }}
from {{ ref('draft_usage_days') }} as days
{% if takes_over() %}{{ of_changed_months('days') }}{% endif %}

union all

select
    {{ columns | join(',\n    ') }}
from {{ ref('stg_billed_usage_days') }}
{{ 'where 1 = 0' if takes_over() }}
