-- Each of our collected invoices beside Stripe's, as it was at the latest sync, and what differs. An invoice that is not published
-- yet is no difference, and before the first sync nothing is compared.
with

ours as (

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

theirs as (

    select * from {{ ref('stg_stripe_invoices') }}

),

our_lines as (

    select
        invoice_id,
        line_id,
        amount
    from {{ ref('stg_billed_lines') }}

),

-- Lines that Stripe has with our id and another amount, and lines that are not ours at all.
edited_lines as (

    select
        theirs.stripe_invoice_id,
        count(*) as edited_count
    from {{ ref('stg_stripe_invoice_lines') }} as lines
    inner join theirs on lines.stripe_invoice_id = theirs.stripe_invoice_id
    left join our_lines
        on
            theirs.invoice_id = our_lines.invoice_id
            and lines.line_id = our_lines.line_id
    where
        lines.line_id is null
        or our_lines.amount <> lines.amount
    group by theirs.stripe_invoice_id

),

our_notes as (

    select
        stripe_invoice_id,
        -sum(amount) as credited_amount
    from {{ ref('stg_credit_note_lines') }}
    group by stripe_invoice_id

),

their_notes as (

    select
        stripe_invoice_id,
        sum(amount) as credited_amount,
        sum(amount + tax_amount) as credited_with_tax_amount
    from {{ ref('stg_stripe_credit_notes') }}
    where stripe_status = 'issued'
    group by stripe_invoice_id

),

is_synced as (

    select max(started_at) as synced_at
    from {{ ref('stg_stripe_syncs') }}
    where is_live = (select is_live from {{ ref('stg_stripe_mode') }})

),

paired as (

    select
        coalesce(ours.invoice_id, theirs.invoice_id) as invoice_id,
        coalesce(ours.stripe_invoice_id, theirs.stripe_invoice_id) as stripe_invoice_id,
        coalesce(ours.customer_id, links.customer_id) as customer_id,
        ours.period,
        coalesce(ours.currency, theirs.currency) as currency,
        ours.total_amount,
        ours.stripe_customer_id as published_to,
        ours.content_hash as published_content_hash,
        ours.invoice_id is not null as is_ours,
        theirs.stripe_invoice_id is not null as is_there,
        theirs.stripe_customer_id,
        theirs.content_hash,
        theirs.currency as stripe_currency,
        theirs.stripe_status,
        theirs.total_amount as stripe_total_amount,
        theirs.tax_amount as stripe_tax_amount,
        theirs.paid_amount,
        case when theirs.stripe_status in ('open', 'uncollectible') then theirs.remaining_amount else 0 end as open_amount,
        theirs.due_at,
        theirs.paid_at,
        coalesce(our_notes.credited_amount, 0) as credited_amount,
        coalesce(their_notes.credited_amount, 0) as their_credited_amount,
        coalesce(their_notes.credited_with_tax_amount, 0) as stripe_credited_amount,
        coalesce(edited_lines.edited_count, 0) as edited_count
    from ours
    full outer join theirs on ours.stripe_invoice_id = theirs.stripe_invoice_id
    left join {{ ref('stripe_customer_links') }} as links on theirs.stripe_customer_id = links.stripe_customer_id
    left join edited_lines on theirs.stripe_invoice_id = edited_lines.stripe_invoice_id
    left join our_notes on ours.stripe_invoice_id = our_notes.stripe_invoice_id
    left join their_notes on theirs.stripe_invoice_id = their_notes.stripe_invoice_id
    -- What Stripe holds of other business is none of ours: an invoice counts where it carries our id, or is a customer's of ours.
    where ours.invoice_id is not null or theirs.invoice_id is not null or links.customer_id is not null

)

select
    paired.invoice_id,
    paired.stripe_invoice_id,
    paired.customer_id,
    paired.period,
    paired.currency,
    paired.total_amount,
    paired.stripe_total_amount,
    paired.stripe_tax_amount,
    paired.stripe_status,
    case
        when not paired.is_there then 'missing'
        when not paired.is_ours then 'extra'
        when paired.published_to <> paired.stripe_customer_id then 'customer'
        when
            paired.currency <> paired.stripe_currency
            or paired.total_amount <> paired.stripe_total_amount
            then 'amount'
        when paired.stripe_status = 'draft' then 'status'
        when paired.stripe_status = 'void' then 'status'
        when
            paired.edited_count > 0
            or coalesce(paired.content_hash, '') <> coalesce(paired.published_content_hash, '')
            then 'edited'
        when paired.credited_amount <> paired.their_credited_amount then 'credited'
        else 'none'
    end as difference,
    cast(coalesce(paired.paid_amount, 0) as decimal(18, 3)) as paid_amount,
    cast(coalesce(paired.open_amount, 0) as decimal(18, 3)) as open_amount,
    cast(case when paired.due_at < build.as_of then coalesce(paired.open_amount, 0) else 0 end as decimal(18, 3)) as overdue_amount,
    cast(coalesce(paired.stripe_credited_amount, 0) as decimal(18, 3)) as credited_amount,
    {{ from_utc('paired.due_at') }} as due_at,
    {{ from_utc('paired.paid_at') }} as paid_at,
    {{ from_utc('is_synced.synced_at') }} as synced_at
from paired
cross join {{ ref('stg_build_inputs') }} as build
cross join is_synced
where is_synced.synced_at is not null
