"""The tables of an export."""

from __future__ import annotations

from pipeline.exports.focus import FOCUS
from pipeline.exports.tables import Column, ColumnKind, ExportTable

_INVOICE = Column("invoice_id", "Invoice", width=30)
_CUSTOMER = Column("customer_id", "Customer", width=22)
_PERIOD = Column("period", "Period", width=10)
_SERVICE_MONTH = Column("service_period", "Service month", width=14)
_LINE_TYPE = Column("line_type", "Type", width=14)
_DESCRIPTION = Column("description", "Description", width=54)
_PLAN = Column("plan_id", "Plan", width=12)
_METER = Column("meter_id", "Meter", width=10)
_RATE = Column("rate_id", "Rate", width=26)
_QUANTITY = Column("quantity", "Quantity", ColumnKind.QUANTITY, width=22)
_UNIT = Column("unit", "Unit", width=13)
_AMOUNT = Column("amount", "Amount", ColumnKind.MONEY)
_CURRENCY = Column("currency", "Currency", width=10)


def _money(name: str, heading: str) -> Column:
    return Column(name, heading, ColumnKind.MONEY)


INVOICES = ExportTable(
    name="invoices",
    sheet="Invoices",
    # What became of an invoice after its close is told by the receivables: this table stays as it was closed.
    source="""
        select * replace (case status when 'draft' then 'draft' else 'closed' end as status)
        from invoices
        where period = $period""",
    columns=(
        _INVOICE,
        _CUSTOMER,
        Column("customer_name", "Name", width=28),
        Column("customer_email", "E-mail", width=34),
        _PERIOD,
        _CURRENCY,
        Column("status", "Status", width=11),
        _PLAN,
        Column("collection", "Collection", width=14),
        _money("subtotal_amount", "Subtotal"),
        _money("credits_applied_amount", "Credits applied"),
        _money("carried_forward_amount", "Carried forward"),
        _money("total_amount", "Total"),
        Column("line_count", "Lines", ColumnKind.WHOLE, width=8),
        Column("closed_at", "Closed at (UTC)", ColumnKind.INSTANT, width=20),
    ),
    order_by=("customer_id", "currency", "invoice_id"),
)

INVOICE_LINES = ExportTable(
    name="invoice_lines",
    sheet="Lines",
    columns=(
        _INVOICE,
        Column("line_number", "Line", ColumnKind.WHOLE, width=6),
        Column("line_id", "Line id", width=38),
        _CUSTOMER,
        _PERIOD,
        _SERVICE_MONTH,
        _LINE_TYPE,
        _DESCRIPTION,
        _PLAN,
        _METER,
        _RATE,
        _QUANTITY,
        Column("billable_quantity", "Billable quantity", ColumnKind.QUANTITY, width=22),
        _UNIT,
        Column("unit_amount", "Unit price", ColumnKind.PRICE),
        _AMOUNT,
        _CURRENCY,
        Column("is_adjustment", "Adjustment", ColumnKind.BOOLEAN, width=12),
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
        Column("line_count", "Lines", ColumnKind.WHOLE, width=8),
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
        Column("usage_date", "Day (UTC)", ColumnKind.DATE, width=12),
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
        Column("grant_id", "Grant", width=30),
        _PERIOD,
        Column("source", "Source", width=14),
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
        Column("document_kind", "Document", width=14),
        Column("document_id", "Number", width=30),
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
        Column("memo", "Reason", width=40),
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
        Column("customer_name", "Name", width=28),
        _PERIOD,
        Column("status", "Status", width=14),
        _money("total_amount", "Total"),
        _money("tax_amount", "Tax"),
        _money("paid_amount", "Paid"),
        _money("balance_applied_amount", "From balance"),
        _money("credited_amount", "Credited"),
        _money("written_off_amount", "Written off"),
        _money("open_amount", "Open"),
        _CURRENCY,
        Column("age", "Age", width=15),
        Column("due_at", "Due at (UTC)", ColumnKind.INSTANT, width=20),
        Column("paid_at", "Paid at (UTC)", ColumnKind.INSTANT, width=20),
        Column("stripe_invoice_id", "Stripe invoice", width=30),
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
        Column("stripe_invoice_id", "Stripe invoice", width=30),
        _CUSTOMER,
        _PERIOD,
        Column("difference", "Difference", width=24),
        _money("total_amount", "Total"),
        _money("stripe_total_amount", "Total in Stripe"),
        _money("stripe_tax_amount", "Tax in Stripe"),
        _money("paid_amount", "Paid"),
        _money("credited_amount", "Credited"),
        _money("open_amount", "Open"),
        _money("overdue_amount", "Overdue"),
        _CURRENCY,
        Column("stripe_status", "Status in Stripe", width=16),
        Column("synced_at", "Synced at (UTC)", ColumnKind.INSTANT, width=20),
    ),
    order_by=("customer_id", "currency", "invoice_id", "stripe_invoice_id"),
)

JOURNAL = ExportTable(
    name="journal",
    sheet="Journal",
    follows_stripe=True,
    columns=(
        Column("entry_date", "Date", ColumnKind.DATE, width=12),
        Column("entry_kind", "Entry", width=16),
        Column("entry_id", "Entry id", width=40),
        Column("posting_number", "Posting", ColumnKind.WHOLE, width=8),
        Column("account", "Account", width=34),
        _AMOUNT,
        _CURRENCY,
        _CUSTOMER,
        _INVOICE,
        Column("is_draft", "Draft", ColumnKind.BOOLEAN, width=8),
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
"""The tables of the workbook, in the order of its sheets."""

EXPORT_TABLES = (*SHEETS, FOCUS)
"""All that are written as CSV and Parquet."""
