-- The lines of every invoice that is not closed yet, as they would be issued now.
with

plan_names as (

    select
        plan_id,
        plan_name
    from {{ ref('plan_versions') }}
    where ends_at = {{ end_of_time() }}

),

price_names as (

    select
        prices.price_id,
        coalesce(contracts.contract_name, plan_names.plan_name) as agreed_name
    from {{ ref('price_versions') }} as prices
    left join {{ ref('contracts') }} as contracts on prices.contract_id = contracts.contract_id
    left join plan_names on prices.plan_id = plan_names.plan_id

),

carried_to as (

    select
        subtotals.customer_id,
        subtotals.period as service_period,
        'carry_forward' as line_type,
        subtotals.currency,
        '' as plan_id,
        cast(null as string) as meter_id,
        '' as rate_id,
        cast(0 as decimal(38, 12)) as quantity,
        cast(0 as decimal(38, 12)) as billable_quantity,
        cast(null as decimal(38, 12)) as unit_amount,
        states.amount,
        subtotals.period,
        false as is_adjustment
    from {{ ref('draft_credit_states') }} as states
    inner join {{ ref('draft_subtotals') }} as subtotals
        on
            states.customer_id = subtotals.customer_id
            and states.currency = subtotals.currency
            and states.open_number + 1 = subtotals.open_number
    where
        states.grant_id = ''
        and states.amount <> 0

),

issued as (

    select
        customer_id,
        service_period,
        line_type,
        currency,
        plan_id,
        meter_id,
        rate_id,
        quantity,
        billable_quantity,
        unit_amount,
        amount,
        period,
        is_adjustment
    from {{ ref('unbilled_lines') }}

    union all

    select
        customer_id,
        service_period,
        line_type,
        currency,
        plan_id,
        meter_id,
        rate_id,
        quantity,
        billable_quantity,
        unit_amount,
        amount,
        period,
        is_adjustment
    from carried_to

),

-- Of which lines some time was a trial.
trials as (

    select distinct
        customer_id,
        period,
        plan_id,
        price_id
    from {{ ref('customer_price_periods') }}
    where is_trial

),

lines as (

    select
        {{ invoice_id('issued.period', 'issued.customer_id', 'issued.currency') }} as invoice_id,
        issued.*,
        case
            when issued.line_type = 'fee' then 'second'
            when issued.line_type = 'usage' then meters.unit
            else 'month'
        end as unit,
        coalesce(meters.display_order, 0) as display_order,
        case issued.line_type
            when 'usage' then 1
            when 'fee' then 2
            when 'discount' then 3
            when 'commitment' then 4
            else 5
        end as type_order,
        case issued.line_type
            when 'carry_forward' then 'Carried forward from the previous invoice'
            when 'discount'
                then 'Discount of ' || {{ plain_number('issued.unit_amount * 100') }} || ' percent, '
                || coalesce(contracts.contract_name, issued.rate_id)
            when 'commitment'
                then 'Charge up to the commitment of ' || {{ readable_number('issued.unit_amount') }} || ' '
                || issued.currency || ' a month, ' || coalesce(contracts.contract_name, issued.rate_id)
            when 'fee'
                then coalesce(price_names.agreed_name, issued.plan_id) || ' fee, '
                || {{ readable_number('issued.unit_amount') }} || ' ' || issued.currency || ' a month, for '
                || {{ plain_number(
                    'cast(' ~ divide_rounding_half_away(
                        'cast(issued.quantity * 100 as decimal(38, 0))', '86400'
                    ) ~ ' as decimal(18, 0)) * cast(0.01 as decimal(3, 2))'
                ) }} || ' days'
                || case
                    when trials.price_id is not null
                        then ', of which ' || {{ plain_number(
                            'cast(' ~ divide_rounding_half_away(
                                'cast(issued.billable_quantity * 100 as decimal(38, 0))', '86400'
                            ) ~ ' as decimal(18, 0)) * cast(0.01 as decimal(3, 2))'
                        ) }} || ' outside the trial'
                    else ''
                end
            else
                coalesce(meters.meter_name, issued.meter_id) || ' on '
                || coalesce(price_names.agreed_name, issued.plan_id) || ', '
                || {{ readable_quantity('issued.quantity', "coalesce(meters.unit, 'unit')") }}
                || case
                    when issued.billable_quantity <> issued.quantity
                        then ', ' || {{ readable_quantity('issued.billable_quantity', "coalesce(meters.unit, 'unit')") }}
                        || case
                            when trials.price_id is null then ' above the allowance'
                            when rates.allowance_level = 0 then ' outside the trial'
                            else ' outside the trial and above the allowance'
                        end
                    else ''
                end
                || case
                    when issued.billable_quantity <> issued.quantity and rates.charge_model not in ('graduated', 'volume') then ','
                    else ''
                end
                || case rates.charge_model
                    when 'package'
                        then ' at ' || {{ readable_number('issued.unit_amount') }} || ' ' || issued.currency || ' for each '
                        || {{ readable_number('rates.package_size') }} || ' ' || coalesce(meters.unit, 'unit') || 's'
                    when 'graduated' then ', by graduated tiers'
                    when 'volume' then ', by volume'
                    else ' at ' || coalesce({{ readable_number('issued.unit_amount') }}, '?') || ' ' || issued.currency
                        || ' per ' || coalesce(meters.unit, 'unit')
                end
        end as what
    from issued
    left join {{ ref('meters') }} as meters on issued.meter_id = meters.meter_id
    left join {{ ref('rates') }} as rates on issued.rate_id = rates.rate_id
    left join {{ ref('contracts') }} as contracts on issued.rate_id = contracts.contract_id
    left join price_names on issued.rate_id = price_names.price_id
    left join trials
        on
            issued.customer_id = trials.customer_id
            and issued.service_period = trials.period
            and issued.plan_id = trials.plan_id
            and issued.rate_id = trials.price_id

),

numbered as (

    select
        *,
        row_number() over (
            partition by invoice_id
            order by is_adjustment, service_period, type_order, plan_id, display_order, meter_id, rate_id
        ) as line_number
    from lines

)

select
    invoice_id,
    'LIN-' || upper(substr(md5(
        invoice_id || chr(31) || service_period || chr(31) || line_type || chr(31) || plan_id || chr(31)
        || coalesce(meter_id, '') || chr(31) || rate_id
    ), 1, 16)) as line_id,
    cast(line_number as integer) as line_number,
    customer_id,
    period,
    service_period,
    line_type,
    plan_id,
    meter_id,
    rate_id,
    quantity,
    unit,
    unit_amount,
    billable_quantity,
    amount,
    currency,
    case when is_adjustment then 'Correction for ' || service_period || ': ' || what else what end as description,
    is_adjustment
from numbered
