-- Billing rules, section 5: the currency in which a closed month was billed to a customer. What a month bills of another month, and
-- what is carried forward, may be in another currency, and is not counted.
-- It reads the ledger by itself: a close bills in the currency that was in force already, so that a build after it has nothing new here.
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
