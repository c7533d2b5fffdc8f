"""What a home has already, as reports for a Dagster that begins to serve it: landed files, the last build, closed months."""

from __future__ import annotations

import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.landing import LandedFile, LandingSummary
from pipeline.landing.quarantine_report import reasons_in_quarantine
from pipeline.ledger.close import CloseResult, totals_by_currency
from pipeline.monitoring.command_reports import BuildReport, report_command
from pipeline.store.closes import closed_periods, read_close
from pipeline.store.raw import SCHEMAS, landed_files
from pipeline.warehouse.build_record import last_build


def report_history(home: Home) -> None:
    """Write a report for each kind of rows that landed, for the last build if it succeeded, and for each closed month."""
    for kind, summary in _landings(home).items():
        report_command(home, "land", summary, kind=kind, seconds=0.0)
    record = last_build(home)
    if record is not None and record.inputs:
        report_command(home, "build", BuildReport(record.as_of, [], replaced_at=0.0))
    for month in closed_periods(home):
        invoices = read_close(home, month, "invoices")
        closed = CloseResult(month, already_closed=True, invoices=invoices.num_rows, totals=totals_by_currency(invoices))
        report_command(home, "close", closed)


def _landings(home: Home) -> dict[str, LandingSummary]:
    """By kind, the files that landed, with the rows that are in quarantine now under the first file of the kind."""
    paths = landed_files(home)
    found: dict[str, LandingSummary] = {}
    for row in pq.read_table(paths, schema=SCHEMAS["landed_files"]).to_pylist() if paths else []:
        file = LandedFile(
            row["file_name"],
            row["file_id"],
            row["received_rows"],
            row["accepted_rows"],
            row["duplicate_rows"],
            row["quarantined_rows"],
            {},
            landed_as=row["file_id"],
            omitted=row["omitted_rows"] or 0,
        )
        found.setdefault(row["kind"], LandingSummary()).files.append(file)
    for reason in reasons_in_quarantine(home) if paths else []:
        found[reason["kind"]].files[0].by_reason[reason["reason"]] = reason["rows"]
    return found
