-- On which days was the usage of an invoice, and of the one before?
-- Billed usage by day of the month. Days of closed invoices never change.
with this_invoice as (
    select
        customer_id,
        currency,
        period
    from billing.invoices
    where invoice_id = {{ var('invoice_id') }}
),

earlier_invoice as (
    select max(invoices.period) as period
    from billing.invoices
    inner join this_invoice using (customer_id, currency)
    where invoices.period < this_invoice.period
)

select
    days.period,
    day(days.usage_date) as day_of_month,
    days.currency,
    sum(days.amount) as amount
from billing.billed_usage_daily as days
inner join this_invoice using (customer_id, currency)
where days.period in (this_invoice.period, (select period from earlier_invoice))
group by all
order by all
