"""The outbox: every step of publishing is written down before it is asked of Stripe, and again when Stripe has answered.

    ledger/outbox/<run>.jsonl      the run that is under way, a line a step, appended; the manifest knows of it
    ledger/outbox/<run>.parquet    a run that is over, with every step it took
    ledger/publications/<run>.parquet    the invoices and credit notes that Stripe has since that run

It tells what was begun, when and under which key. What Stripe really has is always asked of Stripe: the outbox may be lost,
and nothing is sent twice.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

import duckdb
import pyarrow as pa

from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.core.sql import quoted
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.manifest import read_manifest
from pipeline.store.publications import SCHEMA as PUBLICATIONS

Step = Literal["customer", "draft", "lines", "finalize", "send", "credit_note"]
State = Literal["intended", "done", "found", "failed"]
"""found: Stripe had it already. failed: refused, or no answer; what it did is asked of Stripe."""
_STEP_TYPES = {
    "recorded_at": "timestamptz",
    "livemode": "boolean",
    "invoice_id": "varchar",
    "step": "varchar",
    "state": "varchar",
    "idempotency_key": "varchar",
    "stripe_id": "varchar",
    "note": "varchar",
}
_TYPES = {pa.string(): "varchar", pa.bool_(): "boolean", pa.decimal128(18, 3): "decimal(18, 3)"}
_PUBLICATION_TYPES = {field.name: _TYPES.get(field.type, "timestamptz") for field in PUBLICATIONS}


@dataclass
class Outbox:
    """The steps of one run; used by several threads at once."""

    home: Home
    is_live: bool
    _journal: IO[str]
    _lock: threading.Lock

    def record(self, invoice_id: str, step: Step, state: State, *, key: str = "", stripe_id: str = "", note: str = "") -> None:
        """Write down one step, before or after it."""
        row = {
            "invoice_id": invoice_id,
            "step": step,
            "state": state,
            "idempotency_key": key,
            "stripe_id": stripe_id,
            "note": note,
        }
        # What cannot be listed at Stripe must survive a power cut, too: that a mail is about to go out.
        self._append(row, is_synced=step == "send" and state == "intended")

    def published(self, row: dict[str, Any]) -> None:
        """Write down that Stripe has an invoice or a credit note, whole."""
        self._append({"step": "published", "publication": row}, is_synced=True)

    def delivered(self, step: Step) -> frozenset[str]:
        """Our ids of the documents for which a step was done in this mode, by any run: invoices mailed, credit notes given."""
        files = [str(file) for file in sorted(self.home.outbox.glob("*.parquet"))]
        if not files:
            return frozenset()
        rows = duckdb.execute(
            "select distinct invoice_id from read_parquet($files)"
            " where step = $step and state in ('done', 'found') and livemode = $livemode",
            {"files": files, "step": step, "livemode": self.is_live},
        ).fetchall()
        return frozenset(invoice_id for (invoice_id,) in rows)

    def _append(self, row: dict[str, Any], *, is_synced: bool) -> None:
        line = json.dumps({"recorded_at": datetime.now(UTC).isoformat(), "livemode": self.is_live, **row}, default=_json)
        with self._lock:
            self._journal.write(line + "\n")
            self._journal.flush()
            if is_synced:
                os.fsync(self._journal.fileno())


@contextmanager
def open_outbox(home: Home, *, is_live: bool, timeout_seconds: float = 3600) -> Iterator[Outbox]:
    """The outbox of a new run. One run publishes at a time, others wait their turn; builds and closes go on meanwhile.

    What an earlier run left behind when it was killed is settled first. Raises BillhouseError when the wait is over.
    """
    home.outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    with hold_lock(home.outbox / ".lock", activity="publishing", timeout_seconds=timeout_seconds):
        finish_interrupted(home)
        for leftover in sorted(home.outbox.glob("*.jsonl")):
            _settle(home, leftover)
        journal = home.outbox / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.jsonl"
        with append_files(home, "publish") as files:
            files.journal(journal).touch(mode=0o600)
        try:
            with journal.open("a", encoding="utf-8") as writer:
                yield Outbox(home, is_live, writer, threading.Lock())
        finally:
            _settle(home, journal)


def _settle(home: Home, journal: Path) -> None:
    """Turn a journal into Parquet, and remove it; a line that was cut off is none.

    One that the manifest knows as closed is of a run that was killed when all but the removing was done.
    """
    if journal.relative_to(home.path).as_posix() not in read_manifest(home).closed_journals:
        _append_settled(home, journal)
    journal.unlink()


def _append_settled(home: Home, journal: Path) -> None:
    with duckdb.connect() as connection, append_files(home, "publish") as files:
        connection.execute("set TimeZone = 'UTC'")
        told = ", ".join(f"{name}: '{kind}'" for name, kind in _STEP_TYPES.items())
        given = ", ".join(f"{name} {kind}" for name, kind in _PUBLICATION_TYPES.items())
        connection.execute(
            "create view rows as from read_json($journal, format = 'newline_delimited', ignore_errors = true,"
            f" columns = {{{told}, publication: 'struct({given})'}})".replace("$journal", quoted(journal))
        )
        for condition, columns, target in (
            ("= 'published'", "unnest(publication)", home.publications / f"{journal.stem}.parquet"),
            ("<> 'published'", ", ".join(_STEP_TYPES), journal.with_suffix(".parquet")),
        ):
            if connection.execute(f"select 1 from rows where step {condition} limit 1").fetchone():
                rows = f"select {columns} from rows where step {condition}"
                connection.execute(f"copy ({rows}) to {quoted(files.file(target))} (format parquet)")
        files.close_journal(journal)


def _json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
