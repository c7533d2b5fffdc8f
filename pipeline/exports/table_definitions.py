"""The exported tables: their rows, columns, headings and order."""

from __future__ import annotations

from pipeline.exports.focus import FOCUS
from pipeline.exports.tables import ColumnKind, ExportColumn, ExportTable

_INVOICE = ExportColumn("invoice_id", "Invoice", width=30)
_CUSTOMER = ExportColumn("customer_id", "Customer", width=22)
_PERIOD = ExportColumn("period", "Period", width=10)
_SERVICE_MONTH = ExportColumn("service_period", "Service month", width=14)
_LINE_TYPE = ExportColumn("line_type", "Type", width=14)
_DESCRIPTION = ExportColumn("description", "Description", width=54)
_PLAN = ExportColumn("plan_id", "Plan", width=12)
_METER = ExportColumn("meter_id", "Meter", width=10)
_RATE = ExportColumn("rate_id", "Rate", width=26)
_QUANTITY = ExportColumn("quantity", "Quantity", ColumnKind.QUANTITY, width=22)
_UNIT = ExportColumn("unit", "Unit", width=13)
_AMOUNT = ExportColumn("amount", "Amount", ColumnKind.MONEY)
_CURRENCY = ExportColumn("currency", "Currency", width=10)


def _money(name: str, heading: str) -> ExportColumn:
    return ExportColumn(name, heading, ColumnKind.MONEY)


INVOICES = ExportTable(
    name="invoices",
    sheet="Invoices",
    # A closed month's table never changes: what happened to an invoice after its close is in the receivables.
    source="""
        select * replace (case status when 'draft' then 'draft' else 'closed' end as status)
        from invoices
        where period = $period""",
    columns=(
        _INVOICE,
        _CUSTOMER,
        ExportColumn("customer_name", "Name", width=28),
        ExportColumn("customer_email", "E-mail", width=34),
        _PERIOD,
        _CURRENCY,
        ExportColumn("status", "Status", width=11),
        _PLAN,
        ExportColumn("collection", "Collection", width=14),
        _money("subtotal_amount", "Subtotal"),
        _money("credits_applied_amount", "Credits applied"),
        _money("carried_forward_amount", "Carried forward"),
        _money("total_amount", "Total"),
        ExportColumn("line_count", "Lines", ColumnKind.WHOLE, width=8),
        ExportColumn("closed_at", "Closed at (UTC)", ColumnKind.INSTANT, width=20),
    ),
    order_by=("customer_id", "currency", "invoice_id"),
)

INVOICE_LINES = ExportTable(
    name="invoice_lines",
    sheet="Lines",
    columns=(
        _INVOICE,
        ExportColumn("line_number", "Line", ColumnKind.WHOLE, width=6),
        ExportColumn("line_id", "Line id", width=38),
        _CUSTOMER,
        _PERIOD,
        _SERVICE_MONTH,
        _LINE_TYPE,
        _DESCRIPTION,
        _PLAN,
        _METER,
        _RATE,
        _QUANTITY,
        ExportColumn("billable_quantity", "Billable quantity", ColumnKind.QUANTITY, width=22),
        _UNIT,
        ExportColumn("unit_amount", "Unit price", ColumnKind.PRICE),
        _AMOUNT,
        _CURRENCY,
        ExportColumn("is_adjustment", "Adjustment", ColumnKind.BOOLEAN, width=12),
    ),
    order_by=("customer_id", "invoice_id", "line_number", "line_id"),
)

REVENUE = ExportTable(
    name="revenue",
    sheet="Revenue",
    source="""
        select
            currency, plan_id, line_type, meter_id,
            count(*) as line_count,
            case when line_type = 'usage' then cast(sum(quantity) as decimal(38, 12)) end as quantity,
            case when line_type = 'usage' then min(unit) end as unit,
            cast(sum(amount) as decimal(18, 3)) as amount
        from invoice_lines
        where period = $period
        group by currency, plan_id, line_type, meter_id""",
    columns=(
        _CURRENCY,
        _PLAN,
        _LINE_TYPE,
        _METER,
        ExportColumn("line_count", "Lines", ColumnKind.WHOLE, width=8),
        _QUANTITY,
        _UNIT,
        _AMOUNT,
    ),
    order_by=("currency", "plan_id", "line_type", "meter_id"),
)

USAGE_DAILY = ExportTable(
    name="billed_usage_daily",
    sheet="Usage",
    columns=(
        ExportColumn("usage_date", "Day (UTC)", ColumnKind.DATE, width=12),
        _CUSTOMER,
        _PERIOD,
        _PLAN,
        _METER,
        _RATE,
        _QUANTITY,
        _UNIT,
        _AMOUNT,
        _CURRENCY,
        _INVOICE,
    ),
    order_by=("usage_date", "customer_id", "currency", "plan_id", "meter_id", "rate_id", "invoice_id", "line_id"),
)

CREDITS = ExportTable(
    name="credit_ledger",
    sheet="Credits",
    columns=(
        _CUSTOMER,
        ExportColumn("grant_id", "Grant", width=30),
        _PERIOD,
        ExportColumn("source", "Source", width=14),
        _money("opening_amount", "Opening"),
        _money("granted_amount", "Granted"),
        _money("applied_amount", "Applied"),
        _money("expired_amount", "Expired"),
        _money("voided_amount", "Of which voided"),
        _money("closing_amount", "Closing"),
        _CURRENCY,
    ),
    order_by=("customer_id", "currency", "grant_id"),
)

ADJUSTMENTS = ExportTable(
    name="adjustments",
    sheet="Adjustments",
    source="""
        select
            'invoice line' as document_kind, invoice_id as document_id, invoice_id, customer_id, service_period, line_type,
            plan_id, meter_id, quantity, unit, amount, currency, description, cast(null as varchar) as memo, line_id
        from invoice_lines
        where is_adjustment and period = $period
        union all
        select
            'credit note', credit_note_id, invoice_id, customer_id, service_period, line_type,
            plan_id, meter_id, quantity, unit, amount, currency, description, memo, rate_id
        from credit_note_lines
        where strftime(issued_at at time zone 'UTC', '%Y-%m') = $period""",
    columns=(
        ExportColumn("document_kind", "Document", width=14),
        ExportColumn("document_id", "Number", width=30),
        _INVOICE,
        _CUSTOMER,
        _SERVICE_MONTH,
        _LINE_TYPE,
        _PLAN,
        _METER,
        _QUANTITY,
        _UNIT,
        _AMOUNT,
        _CURRENCY,
        _DESCRIPTION,
        ExportColumn("memo", "Reason", width=40),
    ),
    order_by=("document_kind", "document_id", "customer_id", "service_period", "line_type", "meter_id", "line_id", "amount"),
)

RECEIVABLES = ExportTable(
    name="receivables",
    sheet="Receivables",
    source="select * from receivables where period = $period or (period < $period and open_amount <> 0)",
    follows_stripe=True,
    columns=(
        _INVOICE,
        _CUSTOMER,
        ExportColumn("customer_name", "Name", width=28),
        _PERIOD,
        ExportColumn("status", "Status", width=14),
        _money("total_amount", "Total"),
        _money("tax_amount", "Tax"),
        _money("paid_amount", "Paid"),
        _money("balance_applied_amount", "From balance"),
        _money("credited_amount", "Credited"),
        _money("written_off_amount", "Written off"),
        _money("open_amount", "Open"),
        _CURRENCY,
        ExportColumn("age", "Age", width=15),
        ExportColumn("due_at", "Due at (UTC)", ColumnKind.INSTANT, width=20),
        ExportColumn("paid_at", "Paid at (UTC)", ColumnKind.INSTANT, width=20),
        ExportColumn("stripe_invoice_id", "Stripe invoice", width=30),
    ),
    order_by=("period", "customer_id", "currency", "invoice_id"),
)

RECONCILIATION = ExportTable(
    name="stripe_reconciliation",
    sheet="Reconciliation",
    source="select * replace (coalesce(difference, 'agrees') as difference) from stripe_reconciliation where period = $period",
    follows_stripe=True,
    columns=(
        _INVOICE,
        ExportColumn("stripe_invoice_id", "Stripe invoice", width=30),
        _CUSTOMER,
        _PERIOD,
        ExportColumn("difference", "Difference", width=24),
        _money("total_amount", "Total"),
        _money("stripe_total_amount", "Total in Stripe"),
        _money("stripe_tax_amount", "Tax in Stripe"),
        _money("paid_amount", "Paid"),
        _money("credited_amount", "Credited"),
        _money("open_amount", "Open"),
        _money("overdue_amount", "Overdue"),
        _CURRENCY,
        ExportColumn("stripe_status", "Status in Stripe", width=16),
        ExportColumn("synced_at", "Synced at (UTC)", ColumnKind.INSTANT, width=20),
    ),
    order_by=("customer_id", "currency", "invoice_id", "stripe_invoice_id"),
)

JOURNAL = ExportTable(
    name="journal",
    sheet="Journal",
    follows_stripe=True,
    columns=(
        ExportColumn("entry_date", "Date", ColumnKind.DATE, width=12),
        ExportColumn("entry_kind", "Entry", width=16),
        ExportColumn("entry_id", "Entry id", width=40),
        ExportColumn("posting_number", "Posting", ColumnKind.WHOLE, width=8),
        ExportColumn("account", "Account", width=34),
        _AMOUNT,
        _CURRENCY,
        _CUSTOMER,
        _INVOICE,
        ExportColumn("is_draft", "Draft", ColumnKind.BOOLEAN, width=8),
    ),
    order_by=("entry_date", "entry_id", "posting_number"),
)

SHEETS = (
    INVOICES,
    INVOICE_LINES,
    REVENUE,
    USAGE_DAILY,
    CREDITS,
    ADJUSTMENTS,
    RECEIVABLES,
    RECONCILIATION,
    JOURNAL,
)
"""Tables with a sheet in the workbook, in order."""

EXPORT_TABLES = (*SHEETS, FOCUS)
"""Tables written as CSV and Parquet."""
