-- Published invoices of the ledger compared with Stripe's as of the latest sync. An invoice that is not published yet is not
-- compared, and before the first sync none is.
with

published_invoices as (

    select
        invoices.invoice_id,
        invoices.customer_id,
        invoices.period,
        invoices.currency,
        invoices.total_amount,
        publications.stripe_invoice_id,
        publications.stripe_customer_id,
        publications.content_hash
    from {{ ref('stg_publications') }} as publications
    inner join {{ ref('stg_closed_invoices') }} as invoices on publications.invoice_id = invoices.invoice_id

),

stripe_invoices as (

    select * from {{ ref('stg_stripe_invoices') }}

),

ledger_lines as (

    select
        invoice_id,
        line_id,
        amount
    from {{ ref('stg_billed_lines') }}

),

-- Lines in Stripe that have the id of a line of the ledger and another amount, or no such id.
edited_lines as (

    select
        stripe_invoices.stripe_invoice_id,
        count(*) as edited_count
    from {{ ref('stg_stripe_invoice_lines') }} as lines
    inner join stripe_invoices on lines.stripe_invoice_id = stripe_invoices.stripe_invoice_id
    left join ledger_lines
        on
            stripe_invoices.invoice_id = ledger_lines.invoice_id
            and lines.line_id = ledger_lines.line_id
    where
        lines.line_id is null
        or ledger_lines.amount <> lines.amount
    group by stripe_invoices.stripe_invoice_id

),

ledger_notes as (

    select
        stripe_invoice_id,
        -sum(amount) as credited_amount
    from {{ ref('stg_credit_note_lines') }}
    group by stripe_invoice_id

),

stripe_notes as (

    select
        stripe_invoice_id,
        sum(amount) as credited_amount,
        sum(amount + tax_amount) as credited_with_tax_amount
    from {{ ref('stg_stripe_credit_notes') }}
    where stripe_status = 'issued'
    group by stripe_invoice_id

),

latest_sync as (

    select max(started_at) as synced_at
    from {{ ref('stg_stripe_syncs') }}
    where is_live = (select is_live from {{ ref('stg_stripe_mode') }})

),

compared_invoices as (

    select
        coalesce(published_invoices.invoice_id, stripe_invoices.invoice_id) as invoice_id,
        coalesce(published_invoices.stripe_invoice_id, stripe_invoices.stripe_invoice_id) as stripe_invoice_id,
        coalesce(published_invoices.customer_id, links.customer_id) as customer_id,
        published_invoices.period,
        coalesce(published_invoices.currency, stripe_invoices.currency) as currency,
        published_invoices.total_amount,
        published_invoices.stripe_customer_id as published_to,
        published_invoices.content_hash as published_content_hash,
        published_invoices.invoice_id is not null as is_in_ledger,
        stripe_invoices.stripe_invoice_id is not null as is_in_stripe,
        stripe_invoices.stripe_customer_id,
        stripe_invoices.content_hash,
        stripe_invoices.currency as stripe_currency,
        stripe_invoices.stripe_status,
        stripe_invoices.total_amount as stripe_total_amount,
        stripe_invoices.tax_amount as stripe_tax_amount,
        stripe_invoices.paid_amount,
        case
            when stripe_invoices.stripe_status in ('open', 'uncollectible') then stripe_invoices.remaining_amount
            else 0
        end as open_amount,
        stripe_invoices.due_at,
        stripe_invoices.paid_at,
        coalesce(ledger_notes.credited_amount, 0) as credited_amount,
        coalesce(stripe_notes.credited_amount, 0) as stripe_credited_without_tax_amount,
        coalesce(stripe_notes.credited_with_tax_amount, 0) as stripe_credited_amount,
        coalesce(edited_lines.edited_count, 0) as edited_count
    from published_invoices
    full outer join stripe_invoices on published_invoices.stripe_invoice_id = stripe_invoices.stripe_invoice_id
    left join {{ ref('stripe_customer_links') }} as links on stripe_invoices.stripe_customer_id = links.stripe_customer_id
    left join edited_lines on stripe_invoices.stripe_invoice_id = edited_lines.stripe_invoice_id
    left join ledger_notes on published_invoices.stripe_invoice_id = ledger_notes.stripe_invoice_id
    left join stripe_notes on stripe_invoices.stripe_invoice_id = stripe_notes.stripe_invoice_id
    -- Stripe may have invoices of other business: one is compared if it carries an invoice id or its customer is known.
    where published_invoices.invoice_id is not null or stripe_invoices.invoice_id is not null or links.customer_id is not null

)

select
    compared.invoice_id,
    compared.stripe_invoice_id,
    compared.customer_id,
    compared.period,
    compared.currency,
    compared.total_amount,
    compared.stripe_total_amount,
    compared.stripe_tax_amount,
    compared.stripe_status,
    case
        when not compared.is_in_stripe then 'missing'
        when not compared.is_in_ledger then 'extra'
        when compared.published_to <> compared.stripe_customer_id then 'customer'
        when
            compared.currency <> compared.stripe_currency
            or compared.total_amount <> compared.stripe_total_amount
            then 'amount'
        when compared.stripe_status = 'draft' then 'status'
        when compared.stripe_status = 'void' then 'status'
        when
            compared.edited_count > 0
            or coalesce(compared.content_hash, '') <> coalesce(compared.published_content_hash, '')
            then 'edited'
        when compared.credited_amount <> compared.stripe_credited_without_tax_amount then 'credited'
        else 'none'
    end as difference,
    cast(coalesce(compared.paid_amount, 0) as decimal(18, 3)) as paid_amount,
    cast(coalesce(compared.open_amount, 0) as decimal(18, 3)) as open_amount,
    cast(case when compared.due_at < build.as_of then coalesce(compared.open_amount, 0) else 0 end as decimal(18, 3)) as overdue_amount,
    cast(coalesce(compared.stripe_credited_amount, 0) as decimal(18, 3)) as credited_amount,
    {{ from_utc('compared.due_at') }} as due_at,
    {{ from_utc('compared.paid_at') }} as paid_at,
    {{ from_utc('latest_sync.synced_at') }} as synced_at
from compared_invoices as compared
cross join {{ ref('stg_build_inputs') }} as build
cross join latest_sync
where latest_sync.synced_at is not null
