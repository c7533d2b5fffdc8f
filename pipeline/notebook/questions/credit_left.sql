-- How much credit is left, and for which customers will it run out this month?
-- The credit that is left after the usage so far, compared with the further usage that is expected until the month's end. A grant that
-- expires before then counts until it expires. Credit that is used up already does not run out any more.
select
    customer_id,
    currency,
    credit_left_amount,
    month_to_date_amount,
    forecast_amount,
    forecast_amount - month_to_date_amount as further_amount,
    credit_left_amount > 0 and credit_left_amount < further_amount as runs_out_this_month
from billing.customer_balances
order by runs_out_this_month desc, credit_left_amount, customer_id
