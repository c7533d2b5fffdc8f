-- What each session held, in total, and what it comes to at list rates: before allowances, credits and rounding. A meter with an
-- allowance (storage) has no price for one session alone: its allowance is the whole month's.
with

priced as (

    select
        segments.session_id,
        segments.currency,
        segments.meter_id,
        segments.unit_microseconds,
        case
            when rates.allowance_level = 0
                then {{ exact_product(to_unit_seconds('segments.unit_microseconds'), 'rates.unit_amount') }}
            else cast(0 as decimal(38, 24))
        end as list_amount
    from {{ ref('priced_segments') }} as segments
    inner join {{ ref('rates') }} as rates on segments.rate_id = rates.rate_id

)

select
    session_id,
    min(currency) as currency,
    {{ to_unit_seconds("sum(case when meter_id = 'vcpu' then unit_microseconds else 0 end)") }} as vcpu_seconds,
    {{ to_unit_seconds("sum(case when meter_id = 'memory' then unit_microseconds else 0 end)") }} as memory_gb_seconds,
    {{ to_unit_seconds("sum(case when meter_id = 'storage' then unit_microseconds else 0 end)") }} as storage_gb_seconds,
    cast(sum(list_amount) as decimal(38, 12)) as list_amount
from priced
group by session_id
