-- Billing rules, section 6. Fails if the amounts that invoices carry forward are not carry_forward lines of later invoices, except for the
-- last invoice's, whose line is on the customer's next invoice.
with

carried as (

    select
        customer_id,
        currency,
        sum(carried_forward_amount) as carried_amount,
        min(case when is_last then carried_forward_amount else 0 end) as last_amount
    from (
        select
            customer_id,
            currency,
            carried_forward_amount,
            row_number() over (partition by customer_id, currency order by period desc) = 1 as is_last
        from {{ ref('invoices') }}
    ) as invoices
    group by customer_id, currency

),

arrived as (

    select
        customer_id,
        currency,
        sum(amount) as arrived_amount
    from {{ ref('invoice_lines') }}
    where line_type = 'carry_forward'
    group by customer_id, currency

)

select
    carried.customer_id,
    carried.currency,
    carried.carried_amount,
    carried.last_amount,
    arrived.arrived_amount
from carried
left join arrived
    on
        carried.customer_id = arrived.customer_id
        and carried.currency = arrived.currency
where carried.carried_amount - carried.last_amount <> coalesce(arrived.arrived_amount, 0)
