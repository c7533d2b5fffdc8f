-- Billing rules, section 5: the plan of a customer before its first plan record, or without any. One row: check-prices refuses a price book
-- without exactly one default plan.
select distinct plan_id
from {{ ref('plans') }}
where is_default
