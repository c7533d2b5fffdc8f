select
    rates.rate_id,
    rates.plan_id,
    rates.contract_id,
    rates.meter_id,
    meters.unit,
    rates.currency,
    rates.charge_model,
    rates.unit_amount,
    rates.package_size,
    rates.allowance_level,
    {{ from_utc('versions.starts_at') }} as starts_at,
    case when versions.ends_at < {{ end_of_time() }} then {{ from_utc('versions.ends_at') }} end as ends_at
from {{ ref('rates') }} as rates
inner join {{ ref('meters') }} as meters on rates.meter_id = meters.meter_id
inner join {{ ref('price_versions') }} as versions
    on
        rates.rate_id = versions.price_id
        and versions.price_kind = 'rate'
