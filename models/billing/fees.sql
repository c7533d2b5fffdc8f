select
    fees.fee_id,
    fees.plan_id,
    fees.contract_id,
    fees.currency,
    fees.fee_timing,
    cast(fees.monthly_fee_amount as decimal(18, 3)) as monthly_fee_amount,
    {{ from_utc('versions.starts_at') }} as starts_at,
    case when versions.ends_at < {{ end_of_time() }} then {{ from_utc('versions.ends_at') }} end as ends_at
from {{ ref('plan_fees') }} as fees
inner join {{ ref('price_versions') }} as versions
    on
        fees.fee_id = versions.price_id
        and versions.price_kind = 'fee'
