-- Why is an invoice higher than the one before?
-- Each item of the invoice beside the customer's invoice before it in the same currency; the changes sum to the difference of the two
-- totals. Of usage, the change is split: more or less usage at the earlier average price, and the rest, which is the price (rates,
-- tiers, allowances, discounts within a rate).
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
),

two_invoices as (
    select
        invoices.invoice_id,
        invoices.credits_applied_amount,
        invoices.carried_forward_amount,
        invoices.period = this_invoice.period as is_now
    from billing.invoices
    inner join this_invoice using (customer_id, currency)
    where invoices.period in (this_invoice.period, (select period from earlier_invoice))
),

items as (
    select
        two_invoices.is_now,
        case
            when lines.is_adjustment then 'correction of ' || lines.service_period
            when lines.line_type = 'usage' then lines.meter_id
            else lines.line_type
        end as item,
        case when lines.line_type = 'usage' then replace(lines.unit, '-second', '-hour') end as unit,
        case when lines.line_type = 'usage' then lines.quantity / if(lines.unit like '%-second', 3600, 1) end as quantity,
        lines.amount
    from two_invoices
    inner join billing.invoice_lines as lines using (invoice_id)
    union all
    select
        is_now,
        'credit' as item,
        null as unit,
        null as quantity,
        -credits_applied_amount as amount
    from two_invoices
    where credits_applied_amount <> 0
    union all
    select
        is_now,
        'carried to the next invoice' as item,
        null as unit,
        null as quantity,
        -carried_forward_amount as amount
    from two_invoices
    where carried_forward_amount <> 0
),

compared as (
    select
        item,
        unit,
        coalesce(sum(quantity) filter (where not is_now), 0) as quantity_before,
        coalesce(sum(quantity) filter (where is_now), 0) as quantity_now,
        coalesce(sum(amount) filter (where not is_now), 0) as amount_before,
        coalesce(sum(amount) filter (where is_now), 0) as amount_now
    from items
    group by item, unit
)

select
    item,
    (select currency from this_invoice) as currency,
    unit,
    if(unit is null, null, round(quantity_before, 1)) as quantity_before,
    if(unit is null, null, round(quantity_now, 1)) as quantity_now,
    amount_before,
    amount_now,
    amount_now - amount_before as change_amount,
    -- Null where one of the months has none of it: there is no earlier price.
    if(
        unit is null or quantity_before = 0 or quantity_now = 0,
        null,
        ((quantity_now - quantity_before) * amount_before / quantity_before)::decimal(18, 2)
    ) as change_by_usage,
    change_amount - change_by_usage as change_by_price
from compared
order by abs(change_amount) desc, item, unit
