"""Exports the statements of one customer, or of one invoice, and leaves the other files of the month's export as they are."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.files import move_into_place
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.plain_text import is_utf_8
from pipeline.exports.export import export_scratch, month_folder, no_invoices, tables_to_export
from pipeline.exports.statements import OnStatement, write_statements

_SIMILAR = 0.85
"""Jaro-Winkler similarity from which an id or a name is suggested for a mistyped one."""


@dataclass(frozen=True)
class StatementsResult:
    """The statements that were written."""

    period: BillingPeriod
    folder: Path
    """The folder `statements` of the month's export."""
    files: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"period": str(self.period), "folder": str(self.folder), "files": [str(file) for file in self.files]}


def export_statements(
    home: Home,
    period: BillingPeriod,
    *,
    customer_id: str | None = None,
    invoice_id: str | None = None,
    with_pdf: bool = True,
    on_progress: OnStatement | None = None,
) -> StatementsResult:
    """Write the statements of one customer's invoices of a month, or of one invoice, to <home>/exports/<period>/statements/.

    Each file is replaced when all are complete, and has the same bytes as in an export of the whole month. Without `with_pdf`, a
    PDF of an earlier export is removed: it may show other amounts than the page.

    Raises WrongUsageError unless exactly one of the two ids is given, and BillhouseError where the month has no such invoice, or
    for the reasons of `tables_to_export`.
    """
    if (customer_id is None) == (invoice_id is None):
        raise WrongUsageError("Give either --customer or --invoice.")
    with tables_to_export(home) as reports, export_scratch(home) as scratch:
        pages = scratch / "statements"
        pages.mkdir(mode=0o700)
        customer_id = _customer_of(reports, period, customer_id, invoice_id)
        write_statements(reports, period, pages, on_progress, with_pdf=with_pdf, customer_id=customer_id, invoice_id=invoice_id)
        written = sorted(pages.iterdir())
        with month_folder(home, period) as month:
            folder = month / "statements"
            folder.mkdir(mode=0o700, exist_ok=True)
            if not with_pdf:
                for file in written:
                    (folder / file.name).with_suffix(".pdf").unlink(missing_ok=True)
            for file in written:
                move_into_place(file, folder / file.name)
    return StatementsResult(period, folder, tuple(folder / file.name for file in written))


def _customer_of(
    reports: duckdb.DuckDBPyConnection, period: BillingPeriod, customer_id: str | None, invoice_id: str | None
) -> str:
    """The customer whose invoices are selected. Raises BillhouseError, which says where the id is found instead."""
    column, id = ("customer_id", customer_id) if invoice_id is None else ("invoice_id", invoice_id)
    if not is_utf_8(str(id)):
        raise BillhouseError(f"In {period}, no {column.removesuffix('_id')} has such an id: it is not UTF-8.", _all_ids(period))
    found = reports.execute(
        f"select customer_id from invoices where period = $period and {column} = $id limit 1", {"period": str(period), "id": id}
    ).fetchone()
    if found is not None:
        return str(found[0])
    if not reports.execute("select 1 from invoices where period = ? limit 1", [str(period)]).fetchall():
        raise no_invoices(reports, period)
    wanted = f"customer {id!r} has no invoice" if invoice_id is None else f"there is no invoice {id!r}"
    raise BillhouseError(f"In {period}, {wanted}.", _next_step(reports, period, column, str(id)))


def _next_step(reports: duckdb.DuckDBPyConnection, period: BillingPeriod, column: str, id: str) -> str:
    """The months that have the id, else the most similar id or name of the month, else the command that lists all."""
    option = "--customer" if column == "customer_id" else "--invoice"
    months = [
        month
        for (month,) in reports.execute(
            f"select distinct period from invoices where {column} = ? order by period", [id]
        ).fetchall()
    ]
    if months:
        place = "It has invoices" if column == "customer_id" else "It is"
        return f"{place} in {', '.join(months)}: run `billhouse export {months[-1]} {option} {shlex.quote(id)}`."
    names = "coalesce(customer_name, '')" if column == "customer_id" else "''"
    similar = reports.execute(
        f"""
        select {column} from (
            select
                {column},
                greatest(
                    jaro_winkler_similarity(lower({column}), lower($id)), jaro_winkler_similarity(lower({names}), lower($id))
                ) as similarity
            from invoices where period = $period
        )
        where similarity >= {_SIMILAR} order by similarity desc, {column} limit 1""",
        {"period": str(period), "id": id},
    ).fetchone()
    listed = _all_ids(period)
    return f"Did you mean {similar[0]!r}? {listed}" if similar else listed


def _all_ids(period: BillingPeriod) -> str:
    return f"`billhouse invoices {period} --json` lists the ids of the month."
