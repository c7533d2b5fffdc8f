{% set columns = [
    'customer_id', 'usage_date', 'period', 'plan_id', 'meter_id', 'rate_id', 'quantity', 'unit', 'amount', 'currency', 'invoice_id',
    'line_id'
] %}

select
    {{ columns | join(',\n    ') }}
from {{ ref('draft_usage_days') }}

union all

select
    {{ columns | join(',\n    ') }}
from {{ ref('stg_billed_usage_days') }}
