-- Billing rules, section 5: the plan of a customer before its first plan record, and with none. One row: check-prices refuses a price
-- book that has no default plan, or several.
select distinct plan_id
from {{ ref('plans') }}
where is_default
