{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_customer_days() }}",
    post_hook="{{ record_parts('select usage_date from ' ~ ref('dirty_customer_days')) }}"
) }}
with

levels as (

    select
        levels.*,
        max(levels.sandboxes) over (partition by levels.customer_id, levels.usage_date) as peak_sandboxes
    from {{ ref('concurrency_levels') }} as levels
    {{ only_dirty_customer_days('levels') }}

)

select
    customer_id,
    usage_date,
    peak_sandboxes,
    {{ from_utc('min(case when sandboxes = peak_sandboxes then started_at end)') }} as peak_at,
    {{ to_unit_seconds('sum(' ~ unit_microseconds('sandboxes', 'duration_microseconds') ~ ')') }} as sandbox_seconds,
    min(max_concurrent_sandboxes) as max_concurrent_sandboxes,
    {{ to_unit_seconds(
        'sum(case when sandboxes > max_concurrent_sandboxes then duration_microseconds else 0 end)'
    ) }} as over_limit_seconds
from levels
group by customer_id, usage_date, peak_sandboxes
