-- Billing rules, section 6: credit that a draft uses (positive) or gives back (negative): the state after the draft less the
-- state after the one before.
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

state_changes as (

    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        amount
    from states

    union all

    -- The state after one draft is the state before the next.
    select
        states.customer_id,
        states.currency,
        states.open_number + 1 as open_number,
        states.grant_id,
        states.application_period,
        -states.amount as amount
    from states

),

applications as (

    select
        customer_id,
        currency,
        open_number,
        grant_id,
        application_period,
        cast(sum(amount) as decimal(18, 3)) as amount
    from state_changes
    where open_number > 0
    group by customer_id, currency, open_number, grant_id, application_period

)

select
    applications.grant_id,
    {{ invoice_id('subtotals.period', 'applications.customer_id', 'applications.currency') }} as invoice_id,
    applications.customer_id,
    subtotals.period,
    applications.application_period,
    applications.currency,
    grants.source,
    grants.scope,
    applications.amount
from applications
inner join {{ ref('draft_subtotals') }} as subtotals
    on
        applications.customer_id = subtotals.customer_id
        and applications.currency = subtotals.currency
        and applications.open_number = subtotals.open_number
inner join {{ ref('credit_grants') }} as grants on applications.grant_id = grants.grant_id
where applications.amount <> 0
