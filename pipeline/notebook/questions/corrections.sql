-- Which months were corrected, and by how much?
select
    period as billed_in,
    service_period as corrects,
    currency,
    count(*) as lines,
    sum(amount) as amount
from billing.invoice_lines
where is_adjustment
group by all
order by all
