-- How an amount is rounded: to the currency's minor unit (USD 2 digits, JPY none).
select
    currency,
    minor_unit_digits,
    cast(
        case minor_unit_digits
            when 0 then 1
            when 1 then 10
            when 2 then 100
            when 3 then 1000
        end as integer
    ) as minor_units_per_unit
from {{ ref('currencies') }}
