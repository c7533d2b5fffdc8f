-- Whether this deployment is in Stripe live mode: from its first live publication or sync on. Test-mode rows are ignored from then on.
with

modes as (

    select livemode from {{ source('ledger', 'publications') }}
    union all
    select livemode from {{ source('stripe', 'syncs') }}

)

select coalesce(max(case when livemode then 1 else 0 end), 0) = 1 as is_live
from modes
