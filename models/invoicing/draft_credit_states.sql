{{ config(
    materialized='iteration' if target.type == 'spark' else 'table',
    meta={'opening': 'draft_credit_opening', 'step': 'open_number'}
) }}
-- Billing rules, section 6: the customer's credits after each of its open invoices, as if they were closed in order. Each invoice
-- needs what the one before left, so this is a recursion over invoices, all customers at once.
--
-- A row is what an application (a grant used in a month) still amounts to after the open invoice of that number; number 0 is what
-- the closed invoices left. The row without a grant is what is carried forward to the next invoice: zero or less.
--
-- Within one invoice nothing is sequential: what the first n grants pay together is the most they can pay, and a grant's own part
-- is what that grows by. The most they can pay is the least of all cuts (the theorem of the largest flow and the smallest cut): take
-- all usage up to one day, all the rest up to the same or an earlier one, and of the grants those that may pay for anything else.
{% call(before) iterate(ref('draft_credit_opening')) %}
with

before as (

    select * from {{ before }}

),

invoices as (

    select
        subtotals.customer_id,
        subtotals.currency,
        subtotals.open_number,
        subtotals.period,
        subtotals.period_starts_at,
        subtotals.period_ends_at,
        before.amount as carried_amount,
        subtotals.new_amount + before.amount as subtotal_amount
    from {{ ref('draft_subtotals') }} as subtotals
    inner join before
        on
            subtotals.customer_id = before.customer_id
            and subtotals.currency = before.currency
            and subtotals.open_number = before.open_number + 1
    where before.grant_id = ''

),

balances as (

    select
        invoices.customer_id,
        invoices.currency,
        invoices.open_number,
        invoices.period,
        grants.grant_id,
        grants.scope,
        grants.use_order,
        grants.last_payable_date,
        grants.amount - coalesce((
            select sum(before.amount)
            from before
            where
                before.customer_id = grants.customer_id
                and before.currency = grants.currency
                and before.grant_id = grants.grant_id
        ), 0) as balance_amount
    from invoices
    inner join {{ ref('credit_grants') }} as grants
        on
            invoices.customer_id = grants.customer_id
            and invoices.currency = grants.currency
    where
        invoices.subtotal_amount > 0
        and {{ is_usable('grants', 'invoices') }}

),

-- Where corrections take one part below zero, they lessen the other: neither part is more than the whole.
cuts as (

    select
        invoices.customer_id,
        invoices.currency,
        for_usage.last_payable_date as usage_last_date,
        for_rest.last_payable_date as other_last_date,
        greatest(least(for_usage.usage_amount, invoices.subtotal_amount), 0)
        + greatest(least(for_rest.other_amount + invoices.carried_amount, invoices.subtotal_amount), 0) as payable_amount
    from invoices
    inner join {{ ref('draft_credit_capacities') }} as for_usage
        on
            invoices.customer_id = for_usage.customer_id
            and invoices.currency = for_usage.currency
            and invoices.open_number = for_usage.open_number
    inner join {{ ref('draft_credit_capacities') }} as for_rest
        on
            for_usage.customer_id = for_rest.customer_id
            and for_usage.currency = for_rest.currency
            and for_usage.open_number = for_rest.open_number
            and for_usage.last_payable_date >= for_rest.last_payable_date
    where invoices.subtotal_amount > 0

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

-- The most that this grant and those before it can pay together.
payable as (

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

used as (

    select
        customer_id,
        currency,
        open_number,
        grant_id,
        period as application_period,
        paid_amount - coalesce(
            lag(paid_amount) over (partition by customer_id, currency order by use_order), 0
        ) as amount
    from payable

),

-- Of a negative invoice, earlier applications are given back, latest first, to grants that have not expired and are not voided.
kept as (

    select
        before.customer_id,
        before.currency,
        invoices.open_number,
        before.grant_id,
        before.application_period,
        before.amount - case
            when
                invoices.subtotal_amount < 0
                and {{ takes_back('grants', 'invoices') }}
                then least(
                    before.amount,
                    greatest(
                        -invoices.subtotal_amount - (
                            sum(
                                case
                                    when {{ takes_back('grants', 'invoices') }}
                                        then before.amount
                                    else 0
                                end
                            ) over (
                                partition by before.customer_id, before.currency
                                order by before.application_period desc, grants.use_order desc
                                rows between unbounded preceding and current row
                            ) - before.amount
                        ),
                        0
                    )
                )
            else 0
        end as amount
    from before
    inner join invoices
        on
            before.customer_id = invoices.customer_id
            and before.currency = invoices.currency
    inner join {{ ref('credit_grants') }} as grants on before.grant_id = grants.grant_id
    where before.grant_id <> ''

),

-- What of a negative invoice could not be given back.
carried as (

    select
        invoices.customer_id,
        invoices.currency,
        invoices.open_number,
        '' as grant_id,
        '' as application_period,
        least(
            invoices.subtotal_amount + coalesce((
                select sum(before.amount)
                from before
                where
                    before.customer_id = invoices.customer_id
                    and before.currency = invoices.currency
                    and before.grant_id <> ''
            ), 0) - coalesce((
                select sum(kept.amount)
                from kept
                where
                    kept.customer_id = invoices.customer_id
                    and kept.currency = invoices.currency
            ), 0),
            0
        ) as amount
    from invoices

),

after as (

    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        amount
    from kept
    where amount > 0
    union all
    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        amount
    from used
    where amount > 0
    union all
    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        amount
    from carried

)

select
    customer_id,
    currency,
    open_number,
    grant_id,
    application_period,
    cast(amount as decimal(18, 3)) as amount
from after
{% endcall %}
