{# The postings of movements of a receivable: each to its own account, and the opposite one to the receivable. `movements` is a CTE with
   entry_date, customer_id, invoice_id, account, amount and currency; `entry_kind` and `reference` are expressions over it. #}
{% macro postings_against_receivable(movements, entry_kind='entry_kind', reference='invoice_id') -%}
select
    {{ entry_kind }} as entry_kind,
    {{ reference }} as reference,
    entry_date,
    customer_id,
    invoice_id,
    account,
    '' as meter_id,
    amount,
    currency,
    false as is_draft
from {{ movements }}

union all

select
    {{ entry_kind }} as entry_kind,
    {{ reference }} as reference,
    entry_date,
    customer_id,
    invoice_id,
    'Assets:Receivable' as account,
    '' as meter_id,
    -amount as amount,
    currency,
    false as is_draft
from {{ movements }}
{%- endmacro %}
