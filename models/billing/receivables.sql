with

aged as (

    select
        receivables.*,
        {{ microseconds_between('receivables.due_at', 'build.as_of') }} as overdue_microseconds
    from {{ ref('receivables_due') }} as receivables
    cross join {{ ref('stg_build_inputs') }} as build

)

select
    invoice_id,
    customer_id,
    customer_name,
    period,
    currency,
    coalesce(stripe_status, case when stripe_invoice_id is null then 'not_published' else 'published' end) as status,
    total_amount,
    tax_amount,
    paid_amount,
    cast(case when stripe_status = 'void' then 0 else balance_applied_amount end as decimal(18, 3)) as balance_applied_amount,
    credited_amount,
    written_off_amount,
    open_amount,
    case
        when open_amount = 0 then 'settled'
        when due_at is null or overdue_microseconds <= 0 then 'not_due'
        when overdue_microseconds <= 2592000000000 then '1_to_30_days'
        when overdue_microseconds <= 5184000000000 then '31_to_60_days'
        when overdue_microseconds <= 7776000000000 then '61_to_90_days'
        else 'over_90_days'
    end as age,
    stripe_invoice_id,
    {{ from_utc('due_at') }} as due_at,
    {{ from_utc('paid_at') }} as paid_at
from aged
