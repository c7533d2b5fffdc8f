{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_customer_days() }}"
) }}
-- The quantity of each meter that a customer used on each day, by plan and rate version.
select
    segments.customer_id,
    segments.period,
    segments.usage_date,
    segments.currency,
    segments.plan_id,
    segments.meter_id,
    segments.rate_id,
    cast(sum(segments.quantity) as decimal(38, 12)) as quantity,
    cast(sum(case when segments.is_trial then segments.quantity else 0 end) as decimal(38, 12)) as trial_quantity
from {{ ref('priced_segments') }} as segments
{{ only_dirty_customer_days('segments') }}
group by
    segments.customer_id,
    segments.period,
    segments.usage_date,
    segments.currency,
    segments.plan_id,
    segments.meter_id,
    segments.rate_id
