"""The outbox: every publishing step is recorded before its request to Stripe, and again after the response.

    ledger/outbox/<run>.jsonl            journal of a run in progress, one line per step; listed in the manifest
    ledger/outbox/<run>.parquet          steps of a finished run
    ledger/publications/<run>.parquet    invoices and credit notes that the run published

It records which steps began, when, and under which key. What Stripe has is always read from Stripe: even if the outbox is lost,
nothing is sent twice.
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

PublishStep = Literal["customer", "draft", "lines", "finalize", "send", "credit_note"]
State = Literal["intended", "done", "found", "failed"]
"""found: Stripe already had it. failed: refused, or no response; the next attempt reads the outcome from Stripe."""
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
    """The steps of one run. Thread-safe."""

    home: Home
    is_live: bool
    _journal: IO[str]
    _lock: threading.Lock

    def record(
        self, invoice_id: str, step: PublishStep, state: State, *, key: str = "", stripe_id: str = "", note: str = ""
    ) -> None:
        """Record one step, before or after its request."""
        row = {
            "invoice_id": invoice_id,
            "step": step,
            "state": state,
            "idempotency_key": key,
            "stripe_id": stripe_id,
            "note": note,
        }
        # Sent e-mails cannot be listed at Stripe, so the intention to send one must survive a power failure.
        self._append(row, is_synced=step == "send" and state == "intended")

    def published(self, row: dict[str, Any]) -> None:
        """Record that Stripe has the complete invoice."""
        self._append({"step": "published", "publication": row}, is_synced=True)

    def delivered(self, step: PublishStep) -> frozenset[str]:
        """Our ids of the documents for which any run in this mode completed a step, e.g. invoices that were e-mailed."""
        files = [str(file) for file in sorted(self.home.outbox.glob("*.parquet"))]
        if not files:
            return frozenset()
        with duckdb.connect() as connection:
            rows = connection.execute(
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
    """The outbox of a new run. Runs publish one at a time and wait for each other; builds and closes do not wait.

    Journals that killed runs left are converted first. Raises BillhouseError if the wait exceeds `timeout_seconds`.
    """
    home.outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    with hold_lock(home.outbox / ".lock", activity="publishing", timeout_seconds=timeout_seconds):
        finish_interrupted(home)
        for leftover in sorted(home.outbox.glob("*.jsonl")):
            _convert_journal(home, leftover)
        journal = home.outbox / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.jsonl"
        with append_files(home, "publish") as files:
            files.journal(journal).touch(mode=0o600)
        try:
            with journal.open("a", encoding="utf-8") as writer:
                yield Outbox(home, is_live, writer, threading.Lock())
        finally:
            _convert_journal(home, journal)


def _convert_journal(home: Home, journal: Path) -> None:
    """Convert a journal to Parquet and delete it; an incomplete last line is ignored.

    A journal that the manifest lists as closed was already converted by a run that was killed before deleting it.
    """
    if journal.relative_to(home.path).as_posix() not in read_manifest(home).closed_journals:
        _append_converted(home, journal)
    journal.unlink()


def _append_converted(home: Home, journal: Path) -> None:
    with duckdb.connect() as connection, append_files(home, "publish") as files:
        connection.execute("set TimeZone = 'UTC'")
        step_columns = ", ".join(f"{name}: '{kind}'" for name, kind in _STEP_TYPES.items())
        publication_fields = ", ".join(f"{name} {kind}" for name, kind in _PUBLICATION_TYPES.items())
        connection.execute(
            "create view rows as from read_json($journal, format = 'newline_delimited', ignore_errors = true,"
            f" columns = {{{step_columns}, publication: 'struct({publication_fields})'}})".replace("$journal", quoted(journal))
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
