-- Billing rules, section 5: the currency in which a closed month was billed to a customer. Lines for other months and carry-forwards may be in
-- another currency and are left out. Reads the closes from the ledger, not from stg_closes: a close bills in the currency already in force,
-- so that this model, and those that read it, need no rebuild after a close.
select distinct
    lines.customer_id,
    lines.period,
    lines.currency
from {{ source('closes', 'invoice_lines') }} as lines
inner join {{ source('closes', 'close') }} as closes on lines.period = closes.period
where
    lines.service_period = lines.period
    and not lines.is_adjustment
    and lines.line_type <> 'carry_forward'
    and {{ to_utc('closes.as_of') }} <= (select as_of from {{ ref('stg_build_inputs') }})
