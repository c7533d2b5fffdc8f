-- Fails if the postings of an entry do not sum to zero: the books would not balance.
select
    entry_id,
    currency,
    sum(amount) as amount
from {{ ref('journal') }}
group by entry_id, currency
having sum(amount) <> 0
