-- What each open invoice comes to before credits and before what is carried forward to it, and which one of the customer's open
-- invoices it is.
with

sums as (

    select
        customer_id,
        currency,
        period,
        cast(sum(amount) as decimal(18, 3)) as new_amount
    from {{ ref('unbilled_lines') }}
    group by customer_id, currency, period

)

select
    customer_id,
    currency,
    period,
    cast(period || '-01 00:00:00' as timestamp) as period_starts_at,
    cast(period || '-01 00:00:00' as timestamp) + interval 1 month as period_ends_at,
    new_amount,
    cast(row_number() over (partition by customer_id, currency order by period) as integer) as open_number
from sums
