-- Billing rules, section 7: months close in order. The first month that is not closed is the one whose invoices take the
-- corrections of the months before it. No month closed yet: both columns are null.
with

last_close as (

    select max(period) as closed_through_period
    from {{ ref('stg_closes') }}

)

select
    closed_through_period,
    {{ billing_period("(cast(closed_through_period || '-01 00:00:00' as timestamp) + interval 1 month)") }} as first_open_period
from last_close
