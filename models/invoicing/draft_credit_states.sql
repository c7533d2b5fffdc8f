{{ config(
    materialized='iteration' if target.type == 'spark' else 'table',
    meta={'opening': 'draft_credit_opening', 'step': 'open_number'}
) }}
-- Billing rules, section 6: the credit state of a customer after each of its drafts, as if they were closed in order. A draft
-- starts from the state that the one before left, so this is a recursion over drafts (number 1, 2, ...), for all customers at
-- once.
--
-- A row: after draft `open_number`, this much of a grant stays used in `application_period`. Number 0 is the state after the closed
-- invoices. The row without a grant has the amount carried forward to the next draft (zero or less).
--
-- Within a draft the grants are not applied one by one: the first n grants together pay as much as they can, and grant n pays the
-- difference to the first n - 1. How much n grants can pay is a maximum flow from grants to days, which equals the minimum cut:
-- choose a last day for usage and the same or an earlier one for the other lines (a grant of scope `all` pays usage, too); the cut is what is payable up to those days,
-- plus the balances of the grants that may pay for anything later.
{% call(previous_round) iterate(ref('draft_credit_opening')) %}
with

previous_state as (

    select * from {{ previous_round }}

),

drafts as (

    select
        subtotals.customer_id,
        subtotals.currency,
        subtotals.open_number,
        subtotals.period,
        subtotals.period_starts_at,
        subtotals.period_ends_at,
        previous_state.amount as carried_amount,
        subtotals.new_amount + previous_state.amount as subtotal_amount
    from {{ ref('draft_subtotals') }} as subtotals
    inner join previous_state
        on
            subtotals.customer_id = previous_state.customer_id
            and subtotals.currency = previous_state.currency
            and subtotals.open_number = previous_state.open_number + 1
    where previous_state.grant_id = ''

),

balances as (

    select
        drafts.customer_id,
        drafts.currency,
        drafts.open_number,
        drafts.period,
        grants.grant_id,
        grants.scope,
        grants.use_order,
        grants.last_payable_date,
        grants.amount - coalesce((
            select sum(previous_state.amount)
            from previous_state
            where
                previous_state.customer_id = grants.customer_id
                and previous_state.currency = grants.currency
                and previous_state.grant_id = grants.grant_id
        ), 0) as balance_amount
    from drafts
    inner join {{ ref('credit_grants') }} as grants
        on
            drafts.customer_id = grants.customer_id
            and drafts.currency = grants.currency
    where
        drafts.subtotal_amount > 0
        and {{ is_usable('grants', 'drafts') }}

),

-- If corrections make one part negative, they lower the other: neither part is more than the subtotal.
cuts as (

    select
        drafts.customer_id,
        drafts.currency,
        usage_capacities.last_payable_date as usage_last_date,
        other_capacities.last_payable_date as other_last_date,
        greatest(least(usage_capacities.usage_amount, drafts.subtotal_amount), 0)
        + greatest(least(other_capacities.other_amount + drafts.carried_amount, drafts.subtotal_amount), 0) as payable_amount
    from drafts
    inner join {{ ref('draft_credit_capacities') }} as usage_capacities
        on
            drafts.customer_id = usage_capacities.customer_id
            and drafts.currency = usage_capacities.currency
            and drafts.open_number = usage_capacities.open_number
    inner join {{ ref('draft_credit_capacities') }} as other_capacities
        on
            usage_capacities.customer_id = other_capacities.customer_id
            and usage_capacities.currency = other_capacities.currency
            and usage_capacities.open_number = other_capacities.open_number
            and usage_capacities.last_payable_date >= other_capacities.last_payable_date
    where drafts.subtotal_amount > 0

),

bounds as (

    select
        balances.customer_id,
        balances.currency,
        balances.open_number,
        balances.period,
        balances.grant_id,
        balances.use_order,
        cuts.payable_amount + sum(
            case
                when balances.scope = 'usage' and balances.last_payable_date <= cuts.usage_last_date then 0
                when balances.scope <> 'usage' and balances.last_payable_date <= cuts.other_last_date then 0
                else balances.balance_amount
            end
        ) over (
            partition by balances.customer_id, balances.currency, cuts.usage_last_date, cuts.other_last_date
            order by balances.use_order
            rows between unbounded preceding and current row
        ) as bound_amount
    from balances
    inner join cuts
        on
            balances.customer_id = cuts.customer_id
            and balances.currency = cuts.currency

),

-- The maximum that a grant and those before it can pay together.
payable_sums as (

    select
        customer_id,
        currency,
        open_number,
        period,
        grant_id,
        use_order,
        min(bound_amount) as paid_amount
    from bounds
    group by customer_id, currency, open_number, period, grant_id, use_order

),

new_applications as (

    select
        customer_id,
        currency,
        open_number,
        grant_id,
        period as application_period,
        paid_amount - coalesce(
            lag(paid_amount) over (partition by customer_id, currency order by use_order), 0
        ) as amount
    from payable_sums

),

-- A negative draft gives earlier applications back, latest first, to grants that have not expired and are not voided.
remaining_applications as (

    select
        previous_state.customer_id,
        previous_state.currency,
        drafts.open_number,
        previous_state.grant_id,
        previous_state.application_period,
        previous_state.amount - case
            when
                drafts.subtotal_amount < 0
                and {{ takes_back('grants', 'drafts') }}
                then least(
                    previous_state.amount,
                    greatest(
                        -drafts.subtotal_amount - (
                            sum(
                                case
                                    when {{ takes_back('grants', 'drafts') }}
                                        then previous_state.amount
                                    else 0
                                end
                            ) over (
                                partition by previous_state.customer_id, previous_state.currency
                                order by previous_state.application_period desc, grants.use_order desc
                                rows between unbounded preceding and current row
                            ) - previous_state.amount
                        ),
                        0
                    )
                )
            else 0
        end as amount
    from previous_state
    inner join drafts
        on
            previous_state.customer_id = drafts.customer_id
            and previous_state.currency = drafts.currency
    inner join {{ ref('credit_grants') }} as grants on previous_state.grant_id = grants.grant_id
    where previous_state.grant_id <> ''

),

-- The negative remainder of a draft after that, for the next one.
carry_forwards as (

    select
        drafts.customer_id,
        drafts.currency,
        drafts.open_number,
        '' as grant_id,
        '' as application_period,
        least(
            drafts.subtotal_amount + coalesce((
                select sum(previous_state.amount)
                from previous_state
                where
                    previous_state.customer_id = drafts.customer_id
                    and previous_state.currency = drafts.currency
                    and previous_state.grant_id <> ''
            ), 0) - coalesce((
                select sum(remaining_applications.amount)
                from remaining_applications
                where
                    remaining_applications.customer_id = drafts.customer_id
                    and remaining_applications.currency = drafts.currency
            ), 0),
            0
        ) as amount
    from drafts

),

next_state as (

    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        amount
    from remaining_applications
    where amount > 0
    union all
    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        amount
    from new_applications
    where amount > 0
    union all
    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        amount
    from carry_forwards

)

select
    customer_id,
    currency,
    open_number,
    grant_id,
    application_period,
    cast(amount as decimal(18, 3)) as amount
from next_state
{% endcall %}
