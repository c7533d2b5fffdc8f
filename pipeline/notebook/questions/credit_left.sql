-- How much credit is left, and for which customers will it run out this month?
select
    customer_id,
    currency,
    credit_left_amount,
    forecast_amount,
    credit_left_amount < forecast_amount as runs_out_this_month
from billing.customer_balances
order by runs_out_this_month desc, credit_left_amount, customer_id
