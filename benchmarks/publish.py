"""Publishes thousands of invoices to the emulator: requests per second against the limit, and peak memory.

python -m benchmarks.publish [--invoices 5000] [--requests-per-second 100]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.ledger.approvals import approve
from pipeline.store.closes import SCHEMAS, close_folder
from pipeline.store.publications import published_invoices
from pipeline.stripe.client import connection_to
from pipeline.stripe.publish import publish_period

_PERIOD = BillingPeriod(2026, 9)
_LINES = 4


def main() -> None:
    """Print one row per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--requests-per-second", type=int, default=100)
    arguments = parser.parse_args()
    print("| invoices | seconds | requests a second | of the limit | peak memory, MB |\n| --: | --: | --: | --: | --: |")
    for invoices in sorted(arguments.invoices):
        with tempfile.TemporaryDirectory() as folder:
            print(_measure(Path(folder), invoices, arguments.requests_per_second), flush=True)


def _measure(folder: Path, invoices: int, limit: int) -> str:
    home = Home.open(folder / "home")
    _write_close(home, invoices)
    approve(home, _PERIOD, everything=True, by="benchmark")
    command = [sys.executable, "-m", "pipeline.stripe_emulator", "--database", str(folder / "stripe.sqlite"), "--port", "0"]
    with subprocess.Popen([*command, "--requests-per-second", str(limit)], stdout=subprocess.PIPE, text=True) as emulator:  # noqa: S603
        try:
            assert emulator.stdout is not None
            address = emulator.stdout.readline().split()[3]
            # A separate process, so that its memory is that of publishing alone.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                seconds, peak = process.submit(_publish, home, address, limit).result()
        finally:
            emulator.terminate()
    assert len(published_invoices(home, is_live=False)) == invoices
    requests = 5 * invoices
    return f"| {invoices:,} | {seconds:.1f} | {requests / seconds:.1f} | {requests / seconds / limit:.0%} | {peak:.0f} |"


def _publish(home: Home, address: str, limit: int) -> tuple[float, float]:
    """Seconds and peak memory in MB. The rate is 1 % below the limit, because clocks differ and early requests are retried."""
    started = time.monotonic()
    with connection_to("sk_test_x", address, max(1, int(limit * 0.99)), where="the emulator") as connection:
        publish_period(home, _PERIOD, client=connection)
    return time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _write_close(home: Home, invoices: int) -> None:
    """A closed month with this number of invoices, one per customer."""
    now = datetime.now(UTC)
    empty = {table: schema.empty_table() for table, schema in SCHEMAS.items()}
    heads, lines = [], []
    for number in range(invoices):
        own = {
            "invoice_id": f"INV-{number:06d}",
            "customer_id": f"customer-{number:06d}",
            "period": str(_PERIOD),
            "currency": "USD",
        }
        total = Decimal("12.500") * _LINES
        heads.append(
            own
            | {
                "plan_id": "pro",
                "collection": "send_invoice",
                "subtotal_amount": total,
                "credits_applied_amount": Decimal(0),
                "carried_forward_amount": Decimal(0),
                "total_amount": total,
                "line_count": _LINES,
                "minor_unit_digits": 2,
                "closed_at": now,
            }
        )
        lines += [
            own
            | {
                "line_id": f"LIN-{number:06d}-{line}",
                "line_number": line,
                "service_period": str(_PERIOD),
                "line_type": "usage",
                "plan_id": "pro",
                "meter_id": "vcpu",
                "quantity": Decimal(1000),
                "unit": "vCPU-second",
                "amount": Decimal("12.500"),
                "description": "vCPU on Pro",
                "is_adjustment": False,
            }
            for line in range(_LINES)
        ]
    tables = empty | {
        "invoices": pa.Table.from_pylist(heads, schema=SCHEMAS["invoices"]),
        "invoice_lines": pa.Table.from_pylist(lines, schema=SCHEMAS["invoice_lines"]),
        "close": pa.Table.from_pylist([{"period": str(_PERIOD), "closed_at": now}], schema=SCHEMAS["close"]),
    }
    folder = close_folder(home, _PERIOD)
    folder.mkdir()
    for table, rows in tables.items():
        pq.write_table(rows, folder / f"{table}.parquet")


if __name__ == "__main__":
    main()
