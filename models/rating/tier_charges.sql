-- Billing rules, section 5: the exact amount of each tier of a rating group, before rounding. A rate with one price is one tier
-- without upper edge. Tiers are (above, up to]: a quantity on an edge belongs to the lower one. Nothing is due for a group that
-- is all trial.
with

groups as (

    select
        groups.*,
        -- Packages begun: a division of integers (units of the 12th decimal), rounded up.
        cast({{ divide_down(
            'cast(billable_quantity * cast(1000000000000 as decimal(13, 0)) as decimal(38, 0))'
            ' + cast(package_size * cast(1000000000000 as decimal(13, 0)) as decimal(38, 0)) - 1',
            'cast(package_size * cast(1000000000000 as decimal(13, 0)) as decimal(38, 0))'
        ) }} as decimal(38, 12)) as packages
    from {{ ref('rating_groups') }} as groups
    where not groups.is_trial

),

tiers as (

    select
        rate_id,
        cast(row_number() over (partition by rate_id order by above_quantity) as integer) as tier_number,
        cast(above_quantity as decimal(38, 12)) as above_quantity,
        cast(up_to_quantity as decimal(38, 12)) as up_to_quantity,
        unit_amount,
        flat_amount
    from {{ ref('rate_tiers') }}

),

graduated_charges as (

    select
        groups.customer_id,
        groups.period,
        groups.currency,
        groups.plan_id,
        groups.meter_id,
        groups.rate_id,
        groups.charge_model,
        tiers.tier_number,
        tiers.above_quantity,
        tiers.up_to_quantity,
        greatest(
            least(groups.billable_quantity, coalesce(tiers.up_to_quantity, groups.billable_quantity)) - tiers.above_quantity,
            cast(0 as decimal(38, 12))
        ) as tier_quantity,
        tiers.unit_amount,
        tiers.flat_amount
    from groups
    inner join tiers on groups.rate_id = tiers.rate_id
    where
        groups.charge_model = 'graduated'
        and (groups.billable_quantity > tiers.above_quantity or tiers.tier_number = 1)

),

volume_charges as (

    select
        groups.customer_id,
        groups.period,
        groups.currency,
        groups.plan_id,
        groups.meter_id,
        groups.rate_id,
        groups.charge_model,
        tiers.tier_number,
        tiers.above_quantity,
        tiers.up_to_quantity,
        groups.billable_quantity as tier_quantity,
        tiers.unit_amount,
        tiers.flat_amount
    from groups
    inner join tiers on groups.rate_id = tiers.rate_id
    where
        groups.charge_model = 'volume'
        and (groups.billable_quantity > tiers.above_quantity or tiers.tier_number = 1)
        and groups.billable_quantity <= coalesce(tiers.up_to_quantity, groups.billable_quantity)

),

single_price_charges as (

    select
        customer_id,
        period,
        currency,
        plan_id,
        meter_id,
        rate_id,
        charge_model,
        1 as tier_number,
        cast(0 as decimal(38, 12)) as above_quantity,
        cast(null as decimal(38, 12)) as up_to_quantity,
        case charge_model when 'package' then packages else billable_quantity end as tier_quantity,
        unit_amount,
        cast(0 as decimal(18, 6)) as flat_amount
    from groups
    where charge_model in ('per_unit', 'package')

),

charges as (

    select * from graduated_charges
    union all
    select * from volume_charges
    union all
    select * from single_price_charges

)

select
    customer_id,
    period,
    currency,
    plan_id,
    meter_id,
    rate_id,
    charge_model,
    tier_number,
    above_quantity,
    up_to_quantity,
    tier_quantity,
    unit_amount,
    flat_amount,
    {{ exact_product('tier_quantity', 'unit_amount') }} + cast(flat_amount as decimal(38, 24)) as amount
from charges
