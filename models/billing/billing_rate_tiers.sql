{{ config(alias='rate_tiers') }}

select
    tiers.rate_id,
    tiers.above_quantity,
    tiers.up_to_quantity,
    tiers.unit_amount,
    tiers.flat_amount,
    rates.currency
from {{ ref('rate_tiers') }} as tiers
inner join {{ ref('rates') }} as rates on tiers.rate_id = rates.rate_id
