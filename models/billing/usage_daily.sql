{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_customer_months() }}",
    post_hook='{{ record_parts("select first_date from " ~ ref("dirty_customer_months")) }}'
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
{{ only_dirty_customer_months('days') }}
inner join {{ ref('meters') }} as meters on days.meter_id = meters.meter_id
