-- Which sandboxes changed most from the month before?
-- The sessions that began in the invoice's month, and in the calendar month before, at list rates.
with this_invoice as (
    select
        customer_id,
        currency,
        (period || '-01')::date as first_day
    from billing.invoices
    where invoice_id = {{ var('invoice_id') }}
),

sandbox_months as (
    select
        sessions.sandbox_id,
        sessions.currency,
        (sessions.started_at at time zone 'UTC')::date >= this_invoice.first_day as is_now,
        sessions.list_amount,
        sessions.duration_microseconds
    from billing.sessions
    inner join this_invoice using (customer_id, currency)
    where (sessions.started_at at time zone 'UTC')::date >= this_invoice.first_day - interval 1 month
        and (sessions.started_at at time zone 'UTC')::date < this_invoice.first_day + interval 1 month
)

select
    sandbox_id,
    currency,
    coalesce(round(sum(duration_microseconds) filter (where not is_now) / 3600000000, 1), 0) as hours_before,
    coalesce(round(sum(duration_microseconds) filter (where is_now) / 3600000000, 1), 0) as hours_now,
    coalesce(sum(list_amount) filter (where not is_now), 0) as list_amount_before,
    coalesce(sum(list_amount) filter (where is_now), 0) as list_amount_now,
    list_amount_now - list_amount_before as change_amount
from sandbox_months
group by sandbox_id, currency
order by abs(change_amount) desc, sandbox_id
limit 20
