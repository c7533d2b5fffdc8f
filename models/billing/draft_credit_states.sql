{{ config(
    materialized='rounds' if target.type == 'spark' else 'table',
    meta={'opening': 'draft_credit_opening', 'round': 'open_number'}
) }}
-- Billing rules, section 6: the customer's credits after each of its open invoices, as if they were closed in order. Each invoice
-- needs what the one before left, so this is a recursion over invoices, all customers at once.
--
-- A row is what an application (a grant used in a month) still amounts to after the open invoice of that number; number 0 is what
-- the closed invoices left. The row without a grant is what is carried forward to the next invoice: zero or less.
--
-- Within one invoice nothing is sequential: what the first n grants pay together is the most they can pay, and a grant's own part
-- is what that grows by. Grants of scope `all` pay first what is no usage.
{% call(before) in_rounds(ref('draft_credit_opening')) %}
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
        subtotals.period_ends_at,
        subtotals.usage_amount,
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
        invoices.subtotal_amount,
        invoices.usage_amount,
        grants.grant_id,
        grants.scope,
        grants.use_order,
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
        and grants.granted_at < invoices.period_ends_at
        and coalesce(grants.expires_at, {{ end_of_time() }}) > invoices.period_ends_at

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
        least(
            subtotal_amount,
            least(
                greatest(usage_amount, 0),
                sum(case when scope = 'usage' then balance_amount else 0 end) over until_here
            ) + sum(case when scope = 'usage' then 0 else balance_amount end) over until_here
        ) as paid_amount
    from balances
    window
        until_here as (
            partition by customer_id, currency order by use_order
            rows between unbounded preceding and current row
        )

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

-- Of a negative invoice, earlier applications are given back, latest first, to grants that have not expired.
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
                and coalesce(grants.expires_at, {{ end_of_time() }}) > invoices.period_ends_at
                then least(
                    before.amount,
                    greatest(
                        -invoices.subtotal_amount - (
                            sum(
                                case
                                    when coalesce(grants.expires_at, {{ end_of_time() }}) > invoices.period_ends_at
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
