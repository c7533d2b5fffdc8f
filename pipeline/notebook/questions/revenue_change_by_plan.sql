-- How did each plan's revenue change from month to month?
-- Before credit, beside the calendar month before. A plan without lines in one of the two months has a revenue of 0 in it, so that the
-- changes of all plans sum to the change of the whole revenue; the first month of all has nothing to compare with. The running month
-- counts with its drafts: it is what the month has so far.
with plan_months as (
    select
        lines.plan_id,
        lines.currency,
        cast(lines.period || '-01' as date) as first_day,
        count(distinct lines.customer_id) as customers,
        sum(lines.amount) as revenue,
        count(distinct lines.invoice_id) filter (where invoices.status = 'draft') as drafts
    from billing.invoice_lines as lines
    inner join billing.invoices using (invoice_id)
    where lines.line_type <> 'carry_forward' -- it is revenue of the month that carried it
    group by all
),

currencies as (
    select
        currency,
        min(first_day) as first_month,
        max(first_day) as last_month
    from plan_months
    group by currency
),

-- The months of each plan's revenue, and the month after each.
compared_months as (
    select
        plan_id,
        currency,
        first_day
    from plan_months
    union
    select
        plan_months.plan_id,
        plan_months.currency,
        cast(plan_months.first_day + interval 1 month as date) as first_day
    from plan_months
    inner join currencies using (currency)
    where plan_months.first_day < currencies.last_month
),

compared_revenues as (
    select
        compared_months.plan_id,
        compared_months.currency,
        compared_months.first_day,
        coalesce(this_month.customers, 0) as customers,
        coalesce(this_month.drafts, 0) as drafts,
        coalesce(this_month.revenue, 0) as revenue,
        case when compared_months.first_day > currencies.first_month then coalesce(month_before.revenue, 0) end as revenue_before
    from compared_months
    inner join currencies using (currency)
    left join plan_months as this_month using (plan_id, currency, first_day)
    left join plan_months as month_before
        on
            compared_months.plan_id = month_before.plan_id
            and compared_months.currency = month_before.currency
            and compared_months.first_day = month_before.first_day + interval 1 month
)

select
    plan_id,
    strftime(first_day, '%Y-%m') as period,
    currency,
    customers,
    revenue,
    revenue_before,
    revenue - revenue_before as change_amount,
    cast(case when revenue_before > 0 then 100 * (revenue - revenue_before) / revenue_before end as decimal(18, 1)) as change_percent,
    drafts
from compared_revenues
order by plan_id, currency, period
