-- Fails if the postings of a journal entry do not sum to zero in a currency.
select
    entry_id,
    currency,
    sum(amount) as amount
from {{ ref('journal') }}
group by entry_id, currency
having sum(amount) <> 0
