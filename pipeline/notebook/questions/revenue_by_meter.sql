-- What did each meter bring in, month by month?
-- Before credit. Lines that are no usage (fees, discounts, commitments) count by their type.
with meter_months as (
    select
        period,
        coalesce(meter_id, line_type) as meter,
        currency,
        case when line_type = 'usage' then unit end as unit,
        sum(case when line_type = 'usage' then quantity end) as quantity,
        sum(amount) as revenue
    from billing.invoice_lines
    where line_type <> 'carry_forward' -- it is revenue of the month that carried it
    group by all
)

select
    period,
    meter,
    currency,
    -- A second is too small a unit to read; other units, as tokens, stay.
    replace(unit, '-second', '-hour') as unit,
    case
        -- Tenths of an hour, rounded half away from 0: whole numbers, since a division gives a binary number.
        when unit like '%-second' then sign(quantity) * (cast(floor(abs(quantity) + 180) as hugeint) // 360) * 0.1
        else cast(quantity as decimal(38, 1))
    end as quantity,
    revenue
from meter_months
order by all
