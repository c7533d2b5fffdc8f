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

lines as (

    select
        'INV-' || unbilled.period || '-'
        || upper(substr(md5(unbilled.customer_id || chr(31) || unbilled.currency), 1, 12)) as invoice_id,
        unbilled.*,
        case unbilled.line_type when 'fee' then 'second' else meters.unit end as unit,
        coalesce(meters.display_order, 0) as display_order,
        case unbilled.line_type
            when 'fee'
                then coalesce(price_names.agreed_name, unbilled.plan_id) || ' fee, '
                || {{ plain_number('unbilled.unit_amount') }} || ' ' || unbilled.currency || ' a month, for '
                || {{ plain_number(
                    'cast(' ~ divide_rounding_half_away(
                        'cast(unbilled.quantity * 100 as decimal(38, 0))', '86400'
                    ) ~ ' as decimal(18, 0)) * cast(0.01 as decimal(3, 2))'
                ) }} || ' days'
            else
                coalesce(meters.meter_name, unbilled.meter_id) || ' on '
                || coalesce(price_names.agreed_name, unbilled.plan_id) || ', '
                || {{ plain_number('unbilled.quantity') }} || ' ' || coalesce(meters.unit, '') || 's'
                || case
                    when unbilled.billable_quantity <> unbilled.quantity
                        then ', ' || {{ plain_number('unbilled.billable_quantity') }} || ' above the allowance,'
                    else ''
                end
                || ' at ' || {{ plain_number('unbilled.unit_amount') }} || ' ' || unbilled.currency
        end as what
    from {{ ref('unbilled_lines') }} as unbilled
    left join {{ ref('meters') }} as meters on unbilled.meter_id = meters.meter_id
    left join price_names on unbilled.rate_id = price_names.price_id

),

numbered as (

    select
        *,
        row_number() over (
            partition by invoice_id
            order by is_adjustment, service_period, line_type, plan_id, display_order, meter_id, rate_id
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
