{{ config(
    materialized='kept' if target.type == 'duckdb' else 'table',
    pre_hook="{{ forget_changed_months() }}",
    post_hook='{{ note_parts("select first_date from " ~ ref("changed_months")) }}'
) }}
select
    days.customer_id,
    days.usage_date,
    days.period,
    days.plan_id,
    days.meter_id,
    days.rate_id,
    days.quantity,
    meters.unit,
    days.amount,
    days.currency
from {{ ref('due_usage_by_day') }} as days
{{ of_changed_months('days') }}
inner join {{ ref('meters') }} as meters on days.meter_id = meters.meter_id
