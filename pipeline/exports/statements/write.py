"""Writes each invoice's statement for the customer: a self-contained HTML page, for screen and print, and a PDF file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.exports.statements.content import statement_content
from pipeline.exports.statements.issuer import Issuer
from pipeline.exports.statements.pdf import PdfWriter
from pipeline.exports.statements.source import StatementTables

OnStatement = Callable[[str, int, int], None]
"""Called with an invoice's id, the number of statements written, and the number of all."""
TEMPLATES = Path(__file__).with_name("templates")


def write_statements(
    reports: duckdb.DuckDBPyConnection,
    period: BillingPeriod,
    folder: Path,
    on_progress: OnStatement | None = None,
    *,
    with_pdf: bool = True,
    customer_id: str | None = None,
    invoice_id: str | None = None,
) -> int:
    """Write `<invoice_id>.html` and `<invoice_id>.pdf` for each invoice of a period into an empty folder; return their number.

    `customer_id`, `invoice_id`: only the invoices of this customer, only this invoice; their files are the same as among all.
    The same rows give the same bytes. Values are escaped: a customer's name cannot become markup, and loads nothing.
    """
    pages = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = pages.get_template("statement.html.j2")
    pdf = PdfWriter(TEMPLATES) if with_pdf else None
    issuer = Issuer.from_settings(Settings.load())
    tables = StatementTables(reports, period, customer_id=customer_id, invoice_id=invoice_id)
    statements = tables.statements()
    for number, source in enumerate(statements, 1):
        content = statement_content(source, tables, period, issuer)
        id = source.invoice["invoice_id"]
        _write(folder / f"{id}.html", page.render(content).encode())
        if pdf is not None:
            _write(folder / f"{id}.pdf", pdf.render(content))
        if on_progress is not None:
            on_progress(id, number, len(statements))
    return len(statements)


def _write(target: Path, content: bytes) -> None:
    target.touch(mode=0o600)
    target.write_bytes(content)
