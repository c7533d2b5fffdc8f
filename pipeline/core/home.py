"""The home directory: everything Billhouse keeps while it runs, and the lock that makes it one writer.

inbox/           where files wait to be landed, a folder a kind: usage/, subscriptions/, customers/, credit_grants/,
                 voids/, metrics/
raw/             landed truth, append-only Parquet: a folder a collection
ledger/          closed truth, append-only Parquet: closes/, approvals/, outbox/, publications/, credit_notes/,
                 alerts/, alert_deliveries/; and manifest.jsonl, which has the SHA-256 of every file here and in raw/
warehouse.duckdb a cache of the two: delete it, build, and it is back
billhouse.duckdb the read-only copy that analysts hold open; replaced by rename
marts/           the same report tables as Parquet; those that grow with time in folders, a file a day or month
collecting/      how far each source has been collected: a file a source
health/          figures for monitoring
docs/            dbt's pages on the models
exports/         workbooks and CSV files, a folder a period
.tmp/            what commands are writing just now
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import system_failure
from pipeline.core.files import make_folders
from pipeline.core.plain_text import plain_line, visible

HOME_VARIABLE = "BILLHOUSE_HOME"
DEFAULT_HOME = "./var"
_UNUSABLE = {
    ",": "a comma: DuckDB takes it for the end of a folder's name",
    "?": "a question mark: dbt takes what follows for parameters of an address",
    "#": "a hash sign: dbt takes what follows for a part of a page",
    "\\": "a backslash: DuckDB takes it for a slash",
}
"""What the path of a home cannot hold, and why."""
_CODE = Path(__file__).resolve().parents[2]
PROJECT_ROOT = _CODE if (_CODE / "dbt_project.yml").exists() else _CODE / "billhouse_project"
"""The dbt project and the standard price book: the checkout, or what a wheel installs of it beside the packages."""
SEEDS_VARIABLE = "BILLHOUSE_SEEDS"
SEEDS = Path(os.environ.get(SEEDS_VARIABLE) or PROJECT_ROOT / "seeds").expanduser().absolute()
"""The price book: the folder that BILLHOUSE_SEEDS names, or the one in the project."""


@dataclass(frozen=True)
class Home:
    """Where things are under one home directory. Creating the object touches nothing; `open` makes the folders."""

    path: Path

    @classmethod
    def open(cls, path: str | Path | None = None) -> Home:
        """The home at `path`, else at $BILLHOUSE_HOME, else ./var; made if it is not there, for its owner alone."""
        home = cls(Path(path or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve())
        _refuse_unusable(home.path)
        try:
            for folder in (home.inbox, home.raw, home.ledger, home.closes, home.outbox, home.marts, home.exports):
                make_folders(folder)
        except OSError as error:
            known = system_failure(str(error))
            why, next_step = (known.message, known.next_step) if known is not None else (f"{error.strerror}.", "")
            raise BillhouseError(
                f"The home directory {home.path} cannot be used: {why}",
                next_step or "Name one you may write to with --home DIR or BILLHOUSE_HOME.",
            ) from error
        return home

    @property
    def inbox(self) -> Path:
        return self.path / "inbox"

    @property
    def raw(self) -> Path:
        return self.path / "raw"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger"

    @property
    def closes(self) -> Path:
        """One folder a closed month: ledger/closes/2026-10/."""
        return self.ledger / "closes"

    @property
    def manifest(self) -> Path:
        """Every file that was written to raw/ and ledger/, with its SHA-256, each line chained to the one before."""
        return self.ledger / "manifest.jsonl"

    @property
    def scratch(self) -> Path:
        """Where commands write aside, in folders of their own."""
        return self.path / ".tmp"

    @property
    def accepted_terms(self) -> Path:
        """Price books that somebody accepted although they change closed months: one JSON file each."""
        return self.ledger / "accepted_terms"

    @property
    def approvals(self) -> Path:
        """Who let which invoice go to Stripe: one Parquet file a decision."""
        return self.ledger / "approvals"

    @property
    def publications(self) -> Path:
        """The invoices that Stripe has: one Parquet file a run of publishing."""
        return self.ledger / "publications"

    @property
    def outbox(self) -> Path:
        """Every step of publishing, before and after: one file a run."""
        return self.ledger / "outbox"

    @property
    def credit_notes(self) -> Path:
        """The credit notes we issued: one Parquet file each."""
        return self.ledger / "credit_notes"

    @property
    def alerts(self) -> Path:
        """What people had to be told: one Parquet file each time."""
        return self.ledger / "alerts"

    @property
    def alert_deliveries(self) -> Path:
        """What became of it on each channel."""
        return self.ledger / "alert_deliveries"

    @property
    def collecting(self) -> Path:
        """How far each source has been collected: one JSON file each."""
        return self.path / "collecting"

    @property
    def health(self) -> Path:
        """The figures that monitoring reads, in Prometheus' text format."""
        return self.path / "health" / "billhouse.prom"

    @property
    def docs(self) -> Path:
        return self.path / "docs"

    @property
    def warehouse(self) -> Path:
        return self.path / "warehouse.duckdb"

    @property
    def analysts_file(self) -> Path:
        """The report tables, in the schema `billing`: for analysts, read-only."""
        return self.path / "billhouse.duckdb"

    @property
    def marts(self) -> Path:
        return self.path / "marts"

    @property
    def exports(self) -> Path:
        return self.path / "exports"

    @property
    def stripe_emulator(self) -> Path:
        """The local Stripe emulator's state (SQLite)."""
        return self.path / "stripe-emulator.sqlite"

    @contextmanager
    def writing(self, timeout_seconds: float = 600) -> Iterator[None]:
        """Hold the home for writing: one writer at a time, others wait their turn.

        Re-entrant in one process and thread. Raises BillhouseError when the wait is over.
        """
        lock = FileLock(self.path / ".lock", is_singleton=True, mode=0o600)
        try:
            lock.acquire(timeout=timeout_seconds)
        except Timeout:
            raise BillhouseError(
                f"Another command has been writing to {self.path} for over {timeout_seconds:.0f} seconds.",
                "Wait until it is done, then call this again.",
            ) from None
        try:
            yield
        finally:
            lock.release()


def _refuse_unusable(path: Path) -> None:
    """Raises BillhouseError for a path with a character that DuckDB or dbt reads as something else."""
    text = str(path)
    found = [why for character, why in _UNUSABLE.items() if character in text]
    if (escape := re.search("%[0-9A-Fa-f]{2}", text)) is not None:
        found.append(f"{escape.group()}: Dagster takes it for another character")
    if visible(text) != text or "\n" in text or "\t" in text:
        found.append("a character that cannot be shown")
    if found:
        raise BillhouseError(
            f"The home directory {plain_line(text)} cannot be used: its path has {'; and '.join(found)}.",
            "Rename the folder, or name another with --home DIR or BILLHOUSE_HOME.",
        )
