-- Billing rules, section 5: a customer record changes the fields that it names and leaves the others. Of each field the latest landed record
-- counts that names it or clears it (`cleared_fields`).
{%- set fields = {
    'name': 'name',
    'email': 'email',
    'stripe_customer_id': 'stripe_customer_id',
    'monthly_spend_limit': 'monthly_spend_limit_amount',
    'created_at': 'created_at',
    'language': 'language',
} %}
with

records as (

    select
        *,
        row_number() over (
            partition by customer_id
            order by landed_sequence, file_row
        ) as record_number
    from {{ ref('stg_customers') }}

),

latest_records_by_field as (

    select
        customer_id
        {%- for field, column in fields.items() %},
        max(
            case
                when {{ column }} is not null or ',' || cleared_fields || ',' like '%,{{ field }},%' then record_number
            end
        ) as {{ column }}_record
        {%- endfor %}
    from records
    group by customer_id

)

select
    records.customer_id
    {%- for column in fields.values() %},
    max(case when records.record_number = latest.{{ column }}_record then records.{{ column }} end) as {{ column }}
    {%- endfor %}
from records
inner join latest_records_by_field as latest on records.customer_id = latest.customer_id
group by records.customer_id
