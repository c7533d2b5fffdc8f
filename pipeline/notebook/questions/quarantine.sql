-- Which files had rows in quarantine, and why?
select
    file_name,
    reason,
    count(*) as rows_in_quarantine,
    count(settled_at) as settled_rows,
    min(file_row) as first_row,
    any_value(detail) as example
from billing.quarantined_events
group by all
order by rows_in_quarantine desc, file_name, reason
