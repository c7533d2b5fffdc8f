-- Fails if a month's opening credit is not the closing credit of the month before, a row does not add up, or credit is negative.
with

in_order as (

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
from in_order
where
    opening_amount <> previous_closing_amount
    or opening_amount + granted_amount - applied_amount - expired_amount <> closing_amount
    or closing_amount < 0
    or expired_amount < 0
