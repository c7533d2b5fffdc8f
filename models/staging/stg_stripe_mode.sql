-- One row: whether the house has gone live. From its first live publication on, what was tried in test mode is not shown.
select coalesce(max(case when livemode then 1 else 0 end), 0) = 1 as is_live
from {{ landed('ledger/publications') }}
