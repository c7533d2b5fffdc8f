-- How much credit is given, used and lost each month?
-- Opening + granted - applied - expired = closing. The running month counts as if it were closed now.
select
    period,
    currency,
    sum(opening_amount) as opening_amount,
    sum(granted_amount) as granted_amount,
    sum(applied_amount) as applied_amount,
    sum(expired_amount) as expired_amount,
    sum(closing_amount) as closing_amount
from billing.credit_ledger
group by all
order by all
