-- Fails if the days that a usage line was billed for do not sum to it: a statement would show two numbers for one thing.
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
