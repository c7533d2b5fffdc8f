-- Billing rules, section 6: what of each grant an open invoice uses, or (negative) gives back: how its applications changed from
-- one invoice to the next.
with

states as (

    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        amount
    from {{ ref('draft_credit_states') }}
    where grant_id <> ''

),

changes as (

    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        amount
    from states

    union all

    -- As it was after the invoice before.
    select
        states.customer_id,
        states.currency,
        states.open_number + 1 as open_number,
        states.grant_id,
        states.application_period,
        -states.amount as amount
    from states

),

movements as (

    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        cast(sum(amount) as decimal(18, 3)) as amount
    from changes
    where open_number > 0
    group by customer_id, currency, open_number, grant_id, application_period

)

select
    movements.grant_id,
    {{ invoice_id('subtotals.period', 'movements.customer_id', 'movements.currency') }} as invoice_id,
    movements.customer_id,
    subtotals.period,
    movements.application_period,
    movements.currency,
    grants.source,
    grants.scope,
    movements.amount
from movements
inner join {{ ref('draft_subtotals') }} as subtotals
    on
        movements.customer_id = subtotals.customer_id
        and movements.currency = subtotals.currency
        and movements.open_number = subtotals.open_number
inner join {{ ref('credit_grants') }} as grants on movements.grant_id = grants.grant_id
where movements.amount <> 0
