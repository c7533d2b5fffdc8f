-- Billing rules, section 6. Fails if the applications of a grant sum to more than its amount, or if a month's applications are negative: more
-- credit would be given back than was used.
with

applied as (

    select
        grant_id,
        application_period,
        sum(amount) as amount
    from {{ ref('credit_applications') }}
    group by grant_id, application_period

)

select
    applied.grant_id,
    sum(applied.amount) as applied_amount,
    max(grants.amount) as granted_amount
from applied
left join {{ ref('credit_grants') }} as grants on applied.grant_id = grants.grant_id
group by applied.grant_id
having
    sum(applied.amount) > coalesce(max(grants.amount), 0)
    or min(applied.amount) < 0
