-- Why does an invoice differ from the one before?
-- Each item of the invoice beside the customer's invoice before it in the same currency; the changes sum to the difference of the two
-- totals. Of usage, the change is split as on the customer's statement: more or less charged usage at the earlier average price, and the
-- rest, which is the price. Where the price list is the same, or one of the months has no charged usage, all of it is usage.
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

-- What a rate charges: equal for equal prices, whichever plan they are of.
prices as (
    select
        rates.rate_id,
        concat(
            rates.charge_model, ' ', rates.unit_amount, ' ', rates.package_size, ' ',
            string_agg(concat(tiers.above_quantity, ' ', tiers.unit_amount, ' ', tiers.flat_amount), ', ' order by tiers.above_quantity)
        ) as price
    from billing.rates
    left join billing.rate_tiers as tiers using (rate_id)
    group by rates.rate_id, rates.charge_model, rates.unit_amount, rates.package_size
),

items as (
    select
        two_invoices.is_now,
        lines.line_type = 'usage' and not lines.is_adjustment as is_usage,
        case
            when lines.is_adjustment then 'correction of ' || lines.service_period
            when lines.line_type = 'usage' then lines.meter_id
            else lines.line_type
        end as item,
        if(is_usage, lines.unit, null) as unit,
        if(is_usage, lines.billable_quantity, 0) as quantity,
        if(is_usage, coalesce(prices.price, lines.rate_id), null) as price,
        lines.amount
    from two_invoices
    inner join billing.invoice_lines as lines using (invoice_id)
    left join prices using (rate_id)
    union all
    select
        is_now,
        false as is_usage,
        'credit' as item,
        null as unit,
        0 as quantity,
        null as price,
        -credits_applied_amount as amount
    from two_invoices
    where credits_applied_amount <> 0
    union all
    select
        is_now,
        false as is_usage,
        'carried to the next invoice' as item,
        null as unit,
        0 as quantity,
        null as price,
        -carried_forward_amount as amount
    from two_invoices
    where carried_forward_amount <> 0
),

compared as (
    select
        item,
        is_usage,
        any_value(unit) as unit,
        coalesce(any_value(unit) like '%-second', false) as is_time,
        count(distinct price) = 1 as is_same_price,
        coalesce(sum(quantity) filter (where not is_now), 0) as quantity_before,
        coalesce(sum(quantity) filter (where is_now), 0) as quantity_now,
        coalesce(sum(amount) filter (where not is_now), 0) as amount_before,
        coalesce(sum(amount) filter (where is_now), 0) as amount_now
    from items
    group by item, is_usage
),

-- Whole numbers, so that every step is exact: amounts in the currency's minor unit, quantities in 10^-12 of the unit.
whole_numbers as (
    select
        compared.*,
        this_invoice.currency,
        cast(pow(10, {{ price_book.minor_unit_digits('currency') }}) as integer) as minor_units,
        cast(compared.amount_before * minor_units as hugeint) as minor_before,
        cast(replace(cast(compared.quantity_before as varchar), '.', '') as hugeint) as whole_before,
        cast(replace(cast(compared.quantity_now as varchar), '.', '') as hugeint) - whole_before as whole_change
    from compared
    cross join this_invoice
)

select
    item,
    currency,
    replace(unit, '-second', '-hour') as unit,
    -- Tenths of an hour, rounded half up: whole numbers, since a division gives a binary number.
    case
        when is_usage and is_time then (cast(floor(quantity_before + 180) as hugeint) // 360) * 0.1
        when is_usage then cast(quantity_before as decimal(38, 1))
    end as quantity_before,
    case
        when is_usage and is_time then (cast(floor(quantity_now + 180) as hugeint) // 360) * 0.1
        when is_usage then cast(quantity_now as decimal(38, 1))
    end as quantity_now,
    amount_before,
    amount_now,
    amount_now - amount_before as change_amount,
    case
        when not is_usage then null
        when is_same_price or quantity_before = 0 or quantity_now = 0 then amount_now - amount_before
        -- Rounded half away from zero.
        else
            cast(
                sign(whole_change)
                * cast((2 * minor_before * abs(whole_change) + whole_before) // (2 * whole_before) as decimal(15, 0))
                * cast(1 / minor_units as decimal(4, 3))
                as decimal(18, 3)
            )
    end as change_by_usage,
    change_amount - change_by_usage as change_by_price,
    (select period from earlier_invoice) as earlier_period
from whole_numbers
order by abs(change_amount) desc, item, unit
