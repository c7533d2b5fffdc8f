{{ config(
    materialized='incremental_replace' if target.type == 'duckdb' else 'table',
    full_refresh_when='utilisation_needs_full_refresh',
    pre_hook='{{ delete_stale_utilisation() }}'
) }}
-- depends_on: {{ ref('dirty_executions') }}
-- docs/internals/utilisation.md: a sandbox's use on a day, compared with what was billed, and the list amount of the size that fits.
with

minutes as (

    select
        sandbox_minutes.sandbox_id,
        sandbox_minutes.sample_date,
        sandbox_minutes.minute_at as started_at,
        {{ plus_seconds('sandbox_minutes.minute_at', '60') }} as ended_at,
        cast(sandbox_minutes.cpu_used_pct * 1000000 as decimal(38, 0)) as cpu_used_millionths,
        cast(sandbox_minutes.mem_bytes as decimal(38, 0)) as mem_bytes
    from {{ ref('sandbox_minutes') }} as sandbox_minutes
    {% if target.type == 'duckdb' %}
    inner join {{ stale_utilisation() }} as stale
        on
            sandbox_minutes.sandbox_id = stale.sandbox_id
            and sandbox_minutes.sample_date = stale.sample_date
    {% endif %}
    cross join {{ ref('stg_build_inputs') }} as build
    -- A minute counts when it is over at as_of.
    where {{ plus_seconds('sandbox_minutes.minute_at', '60') }} <= build.as_of

),

sampled_days as (

    select distinct
        sandbox_id,
        sample_date
    from minutes

),

held_segments as (

    select
        segments.customer_id,
        segments.sandbox_id,
        segments.usage_date,
        segments.currency,
        segments.meter_id,
        segments.rate_id,
        segments.started_at,
        segments.ended_at,
        segments.quantity,
        {{ microseconds_between('segments.started_at', 'segments.ended_at') }} as duration_microseconds
    from {{ ref('priced_segments') }} as segments
    inner join sampled_days
        on
            segments.sandbox_id = sampled_days.sandbox_id
            and segments.usage_date = sampled_days.sample_date
    where
        segments.meter_id in ('vcpu', 'memory')
        and {{ may_be_stale_day('segments.usage_date') }}

),

-- The overlaps of minutes with priced segments.
minute_segments as (

    select
        held.customer_id,
        held.sandbox_id,
        held.usage_date,
        held.currency,
        held.meter_id,
        minutes.started_at as minute_at,
        minutes.cpu_used_millionths,
        minutes.mem_bytes,
        {{ millionths_held('held.quantity', 'held.duration_microseconds') }} as held_millionths,
        cast(
            {{ microseconds_between(
                'greatest(held.started_at, minutes.started_at)', 'least(held.ended_at, minutes.ended_at)'
            ) }} as decimal(38, 0)
        ) as overlap_microseconds
    from minutes
    inner join held_segments as held
        on
            minutes.sandbox_id = held.sandbox_id
            and minutes.sample_date = held.usage_date
            and held.started_at < minutes.ended_at
            and minutes.started_at < held.ended_at

),

billed_minutes as (

    select
        customer_id,
        sandbox_id,
        usage_date,
        currency,
        minute_at,
        min(cpu_used_millionths) as cpu_used_millionths,
        min(mem_bytes) as mem_bytes,
        sum(case when meter_id = 'vcpu' then overlap_microseconds else 0 end) as billed_microseconds,
        sum(case when meter_id = 'vcpu' then held_millionths * overlap_microseconds else 0 end) as vcpu_time,
        sum(case when meter_id = 'memory' then overlap_microseconds else 0 end) as memory_microseconds,
        sum(case when meter_id = 'memory' then held_millionths * overlap_microseconds else 0 end) as memory_time
    from minute_segments
    group by customer_id, sandbox_id, usage_date, currency, minute_at

),

minutes_with_use as (

    select
        *,
        {{ divide_rounding_half_away('cpu_used_millionths * vcpu_time', '100000000 * billed_microseconds') }} as vcpu_millionths_used
    from billed_minutes
    where billed_microseconds > 0

),

ranked_minutes as (

    select
        *,
        row_number() over (
            partition by customer_id, sandbox_id, usage_date, currency order by vcpu_millionths_used, minute_at
        ) as use_rank,
        count(*) over (partition by customer_id, sandbox_id, usage_date, currency) as minutes_of_day
    from minutes_with_use

),

days as (

    select
        customer_id,
        sandbox_id,
        usage_date,
        currency,
        count(*) as sampled_minutes,
        -- The 95th percentile: the least that at least 95 of 100 minutes do not exceed.
        max(
            case when use_rank = {{ divide_down('95 * minutes_of_day + 99', '100') }} then vcpu_millionths_used end
        ) as busy_vcpu_millionths,
        max(vcpu_millionths_used) as peak_vcpu_millionths,
        max(mem_bytes) as peak_mem_bytes,
        sum(billed_microseconds) as sampled_microseconds,
        sum(vcpu_millionths_used * billed_microseconds) as used_vcpu_time,
        sum(vcpu_time) as vcpu_time,
        sum(mem_bytes * billed_microseconds) as used_byte_time,
        sum(mem_bytes * memory_microseconds) as used_byte_time_of_billed_memory,
        sum(memory_time) as memory_time
    from ranked_minutes
    group by customer_id, sandbox_id, usage_date, currency

),

fitting_sizes as (

    select
        *,
        cast(greatest({{ divide_down('busy_vcpu_millionths + 999999', '1000000') }}, 1) as decimal(18, 6)) as fitting_vcpu_count,
        -- Half a GB is 2^29 bytes.
        cast(
            cast(greatest({{ divide_down('peak_mem_bytes + 536870911', '536870912') }}, 1) as decimal(18, 0))
            * cast(0.5 as decimal(1, 1)) as decimal(18, 6)
        ) as fitting_memory_gb
    from days

),

-- At each instant the smaller of the held and the fitting size: a larger size would not save anything.
fitted_segments as (

    select
        held.*,
        least(
            held.quantity,
            {{ to_unit_seconds(unit_microseconds(
                "case held.meter_id when 'vcpu' then fitting.fitting_vcpu_count else fitting.fitting_memory_gb end",
                'held.duration_microseconds'
            )) }}
        ) as fitting_quantity
    from held_segments as held
    inner join fitting_sizes as fitting
        on
            held.customer_id = fitting.customer_id
            and held.sandbox_id = fitting.sandbox_id
            and held.usage_date = fitting.usage_date
            and held.currency = fitting.currency

),

list_amounts as (

    select
        fitted.customer_id,
        fitted.sandbox_id,
        fitted.usage_date,
        fitted.currency,
        {{ to_unit_seconds("sum(case when fitted.meter_id = 'vcpu' then fitted.duration_microseconds else 0 end)") }} as billed_seconds,
        cast(sum(case when fitted.meter_id = 'vcpu' then fitted.quantity else 0 end) as decimal(38, 12)) as vcpu_seconds,
        cast(sum(case when fitted.meter_id = 'memory' then fitted.quantity else 0 end) as decimal(38, 12)) as memory_gb_seconds,
        cast(sum({{ list_price('fitted.quantity', 'rates') }}) as decimal(38, 12)) as list_amount,
        cast(sum({{ list_price('fitted.fitting_quantity', 'rates') }}) as decimal(38, 12)) as fitting_list_amount
    from fitted_segments as fitted
    inner join {{ ref('rates') }} as rates on fitted.rate_id = rates.rate_id
    group by fitted.customer_id, fitted.sandbox_id, fitted.usage_date, fitted.currency

)

select
    costs.customer_id,
    costs.sandbox_id,
    costs.usage_date,
    costs.currency,
    costs.billed_seconds,
    cast(fitting.sampled_minutes as integer) as sampled_minutes,
    costs.vcpu_seconds,
    {{ from_millionths(divide_rounding_half_away('fitting.used_vcpu_time', 'fitting.sampled_microseconds')) }} as average_vcpus_used,
    {{ from_millionths('fitting.busy_vcpu_millionths') }} as busy_vcpus_used,
    {{ from_millionths('fitting.peak_vcpu_millionths') }} as peak_vcpus_used,
    {{ to_percent('fitting.used_vcpu_time', 'fitting.vcpu_time') }} as cpu_used_percent,
    costs.memory_gb_seconds,
    {{ from_millionths(divide_rounding_half_away(
        'fitting.used_byte_time * 1000000', 'fitting.sampled_microseconds * 1073741824'
    )) }} as average_memory_gb_used,
    {{ from_millionths(divide_rounding_half_away('fitting.peak_mem_bytes * 1000000', '1073741824')) }} as peak_memory_gb_used,
    case
        when fitting.memory_time > 0
            then {{ to_percent('fitting.used_byte_time_of_billed_memory * 1000000', 'fitting.memory_time * 1073741824') }}
    end as memory_used_percent,
    fitting.fitting_vcpu_count,
    fitting.fitting_memory_gb,
    costs.list_amount,
    costs.fitting_list_amount
from list_amounts as costs
inner join fitting_sizes as fitting
    on
        costs.customer_id = fitting.customer_id
        and costs.sandbox_id = fitting.sandbox_id
        and costs.usage_date = fitting.usage_date
        and costs.currency = fitting.currency
