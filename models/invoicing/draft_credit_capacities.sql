-- Billing rules, section 6: how much of a draft credit may pay up to a day, for each last payable day of the customer's grants,
-- and for no day at all (nothing is payable). Without the carry-forward, which draft_credit_states adds.
with

drafts as (

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
        drafts.customer_id,
        drafts.currency,
        drafts.open_number,
        drafts.period,
        grants.last_payable_date
    from drafts
    inner join {{ ref('credit_grants') }} as grants
        on
            drafts.customer_id = grants.customer_id
            and drafts.currency = grants.currency
            and {{ is_usable('grants', 'drafts') }}

),

days_up_to_last as (

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
    coalesce(days_up_to_last.usage_amount, cast(0 as decimal(18, 3))) as usage_amount,
    coalesce(days_up_to_last.other_amount, cast(0 as decimal(18, 3))) as other_amount
from last_days
left join days_up_to_last
    on
        last_days.customer_id = days_up_to_last.customer_id
        and last_days.currency = days_up_to_last.currency
        and last_days.open_number = days_up_to_last.open_number
        and last_days.last_payable_date = days_up_to_last.last_payable_date
        and days_up_to_last.recency = 1

union all

select distinct
    customer_id,
    currency,
    open_number,
    cast({{ beginning_of_time() }} - interval 1 day as date) as last_payable_date,
    cast(0 as decimal(18, 3)) as usage_amount,
    cast(0 as decimal(18, 3)) as other_amount
from last_days
