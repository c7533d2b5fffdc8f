-- Billing rules, section 6: what of each open invoice a grant may pay that was used or due until its last day; a row for each last day
-- that the customer's grants have, and one for no day at all, of which nothing is payable. Before what is carried forward to it.
with

invoices as (

    select
        customer_id,
        currency,
        open_number,
        period,
        period_starts_at,
        period_ends_at
    from {{ ref('draft_subtotals') }}

),

last_days as (

    select distinct
        invoices.customer_id,
        invoices.currency,
        invoices.open_number,
        invoices.period,
        grants.last_payable_date
    from invoices
    inner join {{ ref('credit_grants') }} as grants
        on
            invoices.customer_id = grants.customer_id
            and invoices.currency = grants.currency
            and {{ is_usable('grants', 'invoices') }}

),

up_to_last_day as (

    select
        last_days.customer_id,
        last_days.currency,
        last_days.open_number,
        last_days.last_payable_date,
        days.usage_amount,
        days.other_amount,
        row_number() over (
            partition by last_days.customer_id, last_days.currency, last_days.open_number, last_days.last_payable_date
            order by days.payable_date desc
        ) as recency
    from last_days
    inner join {{ ref('draft_payable_days') }} as days
        on
            last_days.customer_id = days.customer_id
            and last_days.currency = days.currency
            and last_days.period = days.period
            and last_days.last_payable_date >= days.payable_date

)

select
    last_days.customer_id,
    last_days.currency,
    last_days.open_number,
    last_days.last_payable_date,
    coalesce(up_to_last_day.usage_amount, cast(0 as decimal(18, 3))) as usage_amount,
    coalesce(up_to_last_day.other_amount, cast(0 as decimal(18, 3))) as other_amount
from last_days
left join up_to_last_day
    on
        last_days.customer_id = up_to_last_day.customer_id
        and last_days.currency = up_to_last_day.currency
        and last_days.open_number = up_to_last_day.open_number
        and last_days.last_payable_date = up_to_last_day.last_payable_date
        and up_to_last_day.recency = 1

union all

select distinct
    customer_id,
    currency,
    open_number,
    cast({{ beginning_of_time() }} - interval 1 day as date) as last_payable_date,
    cast(0 as decimal(18, 3)) as usage_amount,
    cast(0 as decimal(18, 3)) as other_amount
from last_days
