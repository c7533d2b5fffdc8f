{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    pre_hook="{{ delete_dirty_executions(may_touch_dirty_days('existing.started_at', 'existing.started_at'), has_keys=false) }}",
    post_hook="{{ record_parts('select usage_date from ' ~ ref('dirty_customer_days')) }}"
) }}
-- depends_on: {{ ref('dirty_customer_days') }}
select
    sessions.session_id,
    sessions.sandbox_id,
    nullif(sessions.execution_id, '') as execution_id,
    sessions.customer_id,
    sessions.plan_id,
    {{ from_utc('sessions.started_at') }} as started_at,
    {{ from_utc('sessions.ended_at') }} as ended_at,
    sessions.end_reason,
    sessions.is_start_missing,
    sessions.has_defaulted_resources,
    sessions.duration_microseconds,
    sessions.paused_microseconds,
    coalesce(usage.vcpu_seconds, cast(0 as decimal(38, 12))) as vcpu_seconds,
    coalesce(usage.memory_gb_seconds, cast(0 as decimal(38, 12))) as memory_gb_seconds,
    coalesce(usage.storage_gb_seconds, cast(0 as decimal(38, 12))) as storage_gb_seconds,
    coalesce(usage.gpu_seconds, cast(0 as decimal(38, 12))) as gpu_seconds,
    coalesce(usage.tokens, cast(0 as decimal(38, 12))) as tokens,
    case when usage.session_key is null then cast(0 as decimal(38, 12)) else usage.list_amount end as list_amount,
    currencies.currency,
    sessions.max_session_seconds,
    coalesce(
        sessions.duration_microseconds > sessions.max_session_seconds * 1000000, false
    ) as is_over_session_limit
from {{ ref('sandbox_sessions') }} as sessions
{{ only_dirty_executions('sessions') }}
inner join {{ ref('customer_currencies') }} as currencies
    on
        sessions.customer_id = currencies.customer_id
        and sessions.started_at >= currencies.starts_at
        and sessions.started_at < currencies.ends_at
left join {{ ref('session_usage') }} as usage on sessions.session_key = usage.session_key
where {{ may_touch_dirty_days('sessions.started_at', 'sessions.ended_at') }}
