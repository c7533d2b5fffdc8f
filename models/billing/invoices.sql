-- Billing rules, section 7: drafts, and closed invoices as the ledger has them, each with the status of its latest step.
with

drafts as (

    select
        invoice_id,
        customer_id,
        period,
        currency,
        'draft' as status,
        plan_id,
        collection,
        subtotal_amount,
        credits_applied_amount,
        carried_forward_amount,
        total_amount,
        line_count,
        customer_name,
        customer_email,
        stripe_customer_id,
        cast(null as timestamp) as closed_at
    from {{ ref('draft_invoices') }}

),

closed_invoices as (

    select
        invoice_id,
        customer_id,
        period,
        currency,
        'closed' as status,
        plan_id,
        collection,
        subtotal_amount,
        credits_applied_amount,
        carried_forward_amount,
        total_amount,
        line_count,
        customer_name,
        customer_email,
        stripe_customer_id,
        closed_at
    from {{ ref('stg_closed_invoices') }}

),

invoices as (

    select * from drafts
    union all
    select * from closed_invoices

)

select
    invoices.invoice_id,
    invoices.customer_id,
    invoices.period,
    invoices.currency,
    case
        -- Stripe's `draft` is not used: a published invoice was finalized. stripe_reconciliation reports one that is a draft
        -- again.
        when mirrored.stripe_status in ('open', 'paid', 'void', 'uncollectible') then mirrored.stripe_status
        when publications.invoice_id is not null then 'published'
        when approvals.is_approved then 'approved'
        else invoices.status
    end as status,
    invoices.plan_id,
    invoices.collection,
    invoices.subtotal_amount,
    invoices.credits_applied_amount,
    invoices.carried_forward_amount,
    invoices.total_amount,
    invoices.line_count,
    invoices.customer_name,
    invoices.customer_email,
    coalesce(publications.stripe_customer_id, invoices.stripe_customer_id) as stripe_customer_id,
    publications.stripe_invoice_id,
    coalesce(mirrored.stripe_status, publications.stripe_status) as stripe_status,
    case when approvals.is_approved then approvals.decided_by end as approved_by,
    case when approvals.is_approved then approvals.reason end as approval_reason,
    {{ from_utc('invoices.closed_at') }} as closed_at,
    {{ from_utc('case when approvals.is_approved then approvals.decided_at end') }} as approved_at,
    {{ from_utc('publications.published_at') }} as published_at
from invoices
left join {{ ref('stg_publications') }} as publications
    on
        invoices.invoice_id = publications.invoice_id
        and invoices.status = 'closed'
left join {{ ref('stg_approvals') }} as approvals
    on
        invoices.invoice_id = approvals.invoice_id
        and invoices.status = 'closed'
        and approvals.recency = 1
left join {{ ref('stg_stripe_invoices') }} as mirrored on publications.stripe_invoice_id = mirrored.stripe_invoice_id
