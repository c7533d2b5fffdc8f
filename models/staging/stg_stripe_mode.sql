-- One row: whether the house has gone live. From its first live publication or sync on, what was tried in test mode is not shown.
with

modes as (

    select livemode from {{ source('ledger', 'publications') }}
    union all
    select livemode from {{ source('stripe', 'syncs') }}

)

select coalesce(max(case when livemode then 1 else 0 end), 0) = 1 as is_live
from modes
