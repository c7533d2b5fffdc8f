-- What do customers owe, by age?
select
    age,
    currency,
    count(*) as invoices,
    sum(open_amount) as open_amount
from billing.receivables
where open_amount <> 0
group by all
order by all
