-- Fails if the days of an invoice's usage line do not sum to its quantity and amount: a statement would contradict its invoice.
with

day_sums as (

    select
        line_id,
        sum(quantity) as quantity,
        sum(amount) as amount
    from {{ ref('billed_usage_daily') }}
    group by line_id

)

select
    lines.invoice_id,
    lines.line_id,
    lines.quantity,
    lines.amount,
    day_sums.quantity as days_quantity,
    day_sums.amount as days_amount
from {{ ref('invoice_lines') }} as lines
left join day_sums on lines.line_id = day_sums.line_id
where
    lines.line_type = 'usage'
    and not lines.is_adjustment
    and (
        coalesce(day_sums.quantity, 0) <> lines.quantity
        or coalesce(day_sums.amount, 0) <> lines.amount
    )
