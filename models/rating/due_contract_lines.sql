-- Billing rules, section 5: a contract's discount on the month's rounded usage and fee lines, and the shortfall of those lines
-- and the discount against its commitment.
with

month_sums as (

    select
        customer_id,
        service_period,
        currency,
        sum(minor_units) as minor_units
    from (
        select
            customer_id,
            service_period,
            currency,
            minor_units
        from {{ ref('due_usage_lines') }}
        union all
        select
            customer_id,
            service_period,
            currency,
            minor_units
        from {{ ref('due_fee_lines') }}
    ) as lines
    group by customer_id, service_period, currency

),

months as (

    select
        contract_months.*,
        terms.plan_id,
        coalesce(month_sums.minor_units, 0) as minor_units,
        currencies.minor_unit_digits,
        currencies.minor_units_per_unit
    from {{ ref('contract_months') }} as contract_months
    inner join {{ ref('customer_currencies') }} as customer_currencies
        on
            contract_months.customer_id = customer_currencies.customer_id
            and contract_months.currency = customer_currencies.currency
            and cast(contract_months.period || '-01 00:00:00' as timestamp) >= customer_currencies.starts_at
            and cast(contract_months.period || '-01 00:00:00' as timestamp) < customer_currencies.ends_at
    -- The plan while the contract was last in force in that month.
    inner join {{ ref('customer_terms') }} as terms
        on
            contract_months.customer_id = terms.customer_id
            and contract_months.in_force_until > terms.starts_at
            and contract_months.in_force_until <= terms.ends_at
    inner join {{ ref('currency_units') }} as currencies on contract_months.currency = currencies.currency
    left join month_sums
        on
            contract_months.customer_id = month_sums.customer_id
            and contract_months.period = month_sums.service_period
            and contract_months.currency = month_sums.currency

),

discounted_months as (

    select
        *,
        -1 * cast({{ divide_rounding_half_away(
            'minor_units * cast(coalesce(discount_rate, 0) * cast(1000000 as decimal(7, 0)) as decimal(38, 0))', '1000000'
        ) }} as decimal(38, 0)) as discount_minor_units
    from months

),

months_with_shortfall as (

    select
        *,
        greatest(
            cast({{ divide_rounding_half_away(
                'commitment_millionth_microseconds * minor_units_per_unit',
                'cast(month_microseconds as decimal(38, 0)) * 1000000'
            ) }} as decimal(38, 0)) - minor_units - discount_minor_units,
            0
        ) as shortfall_minor_units
    from discounted_months

),

lines as (

    select
        customer_id,
        period,
        'discount' as line_type,
        currency,
        plan_id,
        contract_id,
        cast(discount_rate as decimal(38, 12)) as unit_amount,
        discount_minor_units as minor_units,
        minor_unit_digits
    from months_with_shortfall
    where discount_minor_units <> 0

    union all

    select
        customer_id,
        period,
        'commitment' as line_type,
        currency,
        plan_id,
        contract_id,
        cast(monthly_commitment_amount as decimal(38, 12)) as unit_amount,
        shortfall_minor_units as minor_units,
        minor_unit_digits
    from months_with_shortfall
    where shortfall_minor_units > 0

)

select
    customer_id,
    period as service_period,
    period as due_period,
    line_type,
    currency,
    plan_id,
    cast(null as string) as meter_id,
    contract_id as rate_id,
    cast(0 as decimal(38, 12)) as quantity,
    cast(0 as decimal(38, 12)) as billable_quantity,
    unit_amount,
    minor_units,
    minor_unit_digits
from lines
