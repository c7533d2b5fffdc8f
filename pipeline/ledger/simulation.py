"""Simulates another price book: prices the same months with both, and compares the invoices."""

from __future__ import annotations

import csv
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import xlsxwriter

from pipeline.core.errors import BillhouseError, WrongUsageError
from pipeline.core.files import replace_atomically
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.pricebook.schema import FILES
from pipeline.pricebook.spreadsheets import csv_text, money_format
from pipeline.pricebook.validation import require_valid_price_book
from pipeline.store.scratch_folders import scratch_folder
from pipeline.warehouse.build_record import last_build
from pipeline.warehouse.reconstruction import hypothetical_home
from pipeline.warehouse.reports import open_reports

COLUMNS = ("customer_id", "period", "currency", "before_amount", "after_amount", "difference_amount")
_QUERY = "select customer_id, period, currency, subtotal_amount from invoices where period between $first and $last"


@dataclass
class Simulation:
    """Invoices before credits under two price books."""

    first: BillingPeriod
    last: BillingPeriod
    rows: list[tuple[str, str, str, Decimal, Decimal, Decimal]] = field(default_factory=list)
    """By COLUMNS; 0 where a price book gives no such invoice."""
    files: list[Path] = field(default_factory=list)

    @property
    def changed(self) -> list[tuple[str, str, str, Decimal, Decimal, Decimal]]:
        """The invoices whose amount differs, the largest difference first."""
        return sorted((row for row in self.rows if row[5]), key=lambda row: (-abs(row[5]), row[:3]))

    @property
    def totals(self) -> dict[str, tuple[Decimal, Decimal]]:
        """The sums before and after, by currency."""
        sums: dict[str, tuple[Decimal, Decimal]] = {}
        for _, _, currency, before, after, _ in self.rows:
            was, would = sums.get(currency, (Decimal(0), Decimal(0)))
            sums[currency] = (was + before, would + after)
        return dict(sorted(sums.items()))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "from": str(self.first),
            "to": str(self.last),
            "totals": {
                currency: {"before_amount": str(was), "after_amount": str(would), "difference_amount": str(would - was)}
                for currency, (was, would) in self.totals.items()
            },
            "invoices_changed": len(self.changed),
            "invoices": [dict(zip(COLUMNS, map(str, row), strict=True)) for row in self.rows],
            "files": [str(file) for file in self.files],
        }


def simulate(
    home: Home,
    prices: Path,
    first: BillingPeriod,
    last: BillingPeriod,
    *,
    seeds: Path = PROJECT_ROOT / "seeds",
    on_progress: OnProgress | None = None,
) -> Simulation:
    """Price the months with `seeds` and with `prices`, as of the last build, as if no month were closed.

    `prices`: a folder with price book files; files that it lacks are taken from `seeds`. Writes a CSV file and a workbook with a
    chart to exports/simulations/, and changes nothing else. Raises PriceBookError where `prices` is invalid.
    """
    if last < first:
        raise WrongUsageError(f"{last} is before {first}.", "Give --from the earlier month.")
    if not prices.is_dir():
        raise BillhouseError(
            f"{prices} is not a folder.", "Copy seeds/ to another folder, change prices there, and give that folder."
        )
    with home.writing(), scratch_folder(home, "prices") as merged:
        for name in FILES:
            source = prices / name if (prices / name).exists() else seeds / name
            (merged / name).write_bytes(source.read_bytes())
        require_valid_price_book(merged)
        result = compare_price_books(home, seeds, merged, first, last, on_progress=on_progress)
    folder = home.exports / "simulations"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = f"{prices.resolve().name}-{first}-{last}"
    result.files = [_write_csv(folder / f"{stem}.csv", result), _write_workbook(folder / f"{stem}.xlsx", result)]
    return result


def compare_price_books(
    home: Home,
    before: Path,
    after: Path,
    first: BillingPeriod,
    last: BillingPeriod,
    *,
    on_progress: OnProgress | None = None,
) -> Simulation:
    """Invoices before credits under two price books, as of the last build, as if no month were closed.

    Raises BillhouseError where nothing was built yet.
    """
    record = last_build(home)
    if record is None:
        raise BillhouseError("Nothing has been built yet.", "Build first: billhouse build")
    with home.writing():
        with hypothetical_home(home, before, record.as_of, on_progress=on_progress) as scratch:
            was = _subtotals(scratch, first, last)
        with hypothetical_home(home, after, record.as_of, on_progress=on_progress) as scratch:
            would = _subtotals(scratch, first, last)
    result = Simulation(first, last)
    for key in sorted(was.keys() | would.keys()):
        old, new = was.get(key, Decimal(0)), would.get(key, Decimal(0))
        result.rows.append((*key, old, new, new - old))
    return result


def _subtotals(home: Home, first: BillingPeriod, last: BillingPeriod) -> dict[tuple[str, str, str], Decimal]:
    with closing(open_reports(home)) as reports:
        rows = reports.execute(_QUERY, {"first": str(first), "last": str(last)}).fetchall()
    return {(customer, period, currency): amount for customer, period, currency, amount in rows}


def _write_csv(path: Path, simulation: Simulation) -> Path:
    with replace_atomically(path) as written, written.open("w", newline="", encoding="utf-8") as stream:
        lines = csv.writer(stream)
        lines.writerow(COLUMNS)
        lines.writerows(map(csv_text, row) for row in simulation.rows)
    return path


def _write_workbook(path: Path, simulation: Simulation) -> Path:
    with replace_atomically(path) as written, xlsxwriter.Workbook(str(written), {"strings_to_formulas": False}) as workbook:
        bold = workbook.add_format({"bold": True})
        currencies = {row[2] for row in simulation.changed}
        money = {currency: workbook.add_format({"num_format": money_format(currency)}) for currency in sorted(currencies)}
        sheet = workbook.add_worksheet("Changes")
        sheet.freeze_panes(1, 0)
        sheet.write_row(0, 0, COLUMNS, bold)
        sheet.set_column(0, 0, 32)
        sheet.set_column(1, 5, 16)
        changed = simulation.changed
        for number, row in enumerate(changed, 1):
            for column, value in enumerate(row):
                if isinstance(value, Decimal):
                    sheet.write_number(number, column, value, money[row[2]])  # shown, not summed: a cell is a float
                else:
                    sheet.write_string(number, column, value)
        chart = workbook.add_chart({"type": "bar"})
        shown = min(len(changed), 20)
        if shown:
            names, values = ["Changes", 1, 0, shown, 0], ["Changes", 1, 5, shown, 5]
            chart.add_series({"categories": names, "values": values, "name": "Change of the invoice"})
            chart.set_y_axis({"reverse": True})
            chart.set_title({"name": "The largest changes"})
            chart.set_legend({"none": True})
            chart.set_size({"width": 720, "height": 80 + 24 * shown})
            sheet.insert_chart("H2", chart)
    return path
