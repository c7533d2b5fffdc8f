-- What did each meter bring in, month by month?
-- Before credit. Lines that are no usage (fees, discounts, commitments) count by their type.
select
    period,
    coalesce(meter_id, line_type) as meter,
    currency,
    -- A second is too small a unit to read; other units, as tokens, stay.
    case when line_type = 'usage' then replace(unit, '-second', '-hour') end as unit,
    cast(sum(case when line_type = 'usage' then quantity * if(unit like '%-second', 1, 3600) end) / 3600 as decimal(38, 1)) as quantity,
    sum(amount) as revenue
from billing.invoice_lines
where line_type <> 'carry_forward' -- it is revenue of the month that carried it
group by all
order by all
