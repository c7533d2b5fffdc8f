-- Billing rules, section 6. Fails if a grant's opening amount is not the closing amount of the month before, if opening + granted - applied -
-- expired is not closing, or if an amount is negative.
with

months_in_order as (

    select
        *,
        coalesce(
            lag(closing_amount) over (partition by grant_id order by period), 0
        ) as previous_closing_amount
    from {{ ref('credit_ledger') }}

)

select
    grant_id,
    period,
    opening_amount,
    previous_closing_amount,
    closing_amount
from months_in_order
where
    opening_amount <> previous_closing_amount
    or opening_amount + granted_amount - applied_amount - expired_amount <> closing_amount
    or closing_amount < 0
    or expired_amount < 0
