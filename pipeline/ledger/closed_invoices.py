"""Reads closed invoices from the ledger, each with its lines and credit applications."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.store.closes import close_head, read_close

Row = dict[str, Any]


@dataclass(frozen=True)
class ClosedInvoice:
    """An invoice from the ledger with its lines and credit applications."""

    invoice: Row
    lines: list[Row]
    credits: list[Row]
    manifest_head: str = ""
    """The manifest's head after the month's close."""

    @property
    def invoice_id(self) -> str:
        return str(self.invoice["invoice_id"])

    @property
    def customer_id(self) -> str:
        return str(self.invoice["customer_id"])

    @property
    def is_collected(self) -> bool:
        """False where every line is of a plan with collection 'none'."""
        return bool(self.invoice["collection"] != "none")

    @property
    def total(self) -> int:
        """In whole minor units."""
        return self.minor_units(self.invoice["total_amount"])

    def minor_units(self, amount: Decimal) -> int:
        """12.34 USD -> 1234; 1234 JPY -> 1234. Raises BillhouseError for an amount that has no whole minor units."""
        scaled = amount.scaleb(self.invoice["minor_unit_digits"])
        if scaled != scaled.to_integral_value():
            raise BillhouseError(
                f"{self.invoice_id} has an amount of {amount}, finer than its currency's minor unit.",
                "This is a bug: please report it.",
            )
        return int(scaled)


def closed_invoice_rows(home: Home, period: BillingPeriod) -> list[Row]:
    """The month's invoices without their lines, in the ledger's order."""
    rows: list[Row] = read_close(home, period, "invoices").to_pylist()
    return rows


def closed_invoices(home: Home, period: BillingPeriod, batch: int = 200) -> Iterator[list[ClosedInvoice]]:
    """The month's invoices with lines and credits, in batches, so that memory holds only one batch's rows as objects."""
    rows = closed_invoice_rows(home, period)
    head = close_head(home, period)
    lines, credits = (read_close(home, period, table) for table in ("invoice_lines", "credit_applications"))
    for first in range(0, len(rows), batch):
        chosen = rows[first : first + batch]
        ids = pa.array([row["invoice_id"] for row in chosen])
        own_lines, own_credits = (_by_invoice(table.filter(pc.is_in(table["invoice_id"], ids))) for table in (lines, credits))
        yield [
            ClosedInvoice(row, own_lines.get(row["invoice_id"], []), own_credits.get(row["invoice_id"], []), head)
            for row in chosen
        ]


def _by_invoice(table: pa.Table) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in table.to_pylist():
        grouped.setdefault(row["invoice_id"], []).append(row)
    return grouped
