{% set columns = [
    'invoice_id', 'line_id', 'line_number', 'customer_id', 'period', 'service_period', 'line_type', 'plan_id', 'meter_id',
    'rate_id', 'quantity', 'unit', 'unit_amount', 'billable_quantity', 'amount', 'currency', 'description', 'is_adjustment'
] %}

select
    {{ columns | join(',\n    ') }}
from {{ ref('draft_invoice_lines') }}

union all

select
    {{ columns | join(',\n    ') }}
from {{ ref('stg_billed_lines') }}
