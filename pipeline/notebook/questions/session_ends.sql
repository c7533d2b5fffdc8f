-- What do sandboxes cost that were never stopped?
-- By the way that sessions ended: those that ended at the plan's maximum or by silence probably ran longer than needed.
select
    end_reason,
    currency,
    count(*) as sessions,
    sum(list_amount) as list_amount,
    cast(100 * sum(list_amount) / nullif(sum(sum(list_amount)) over (partition by currency), 0) as decimal(18, 1)) as percent_of_all
from billing.sessions
group by end_reason, currency
order by currency, list_amount desc
