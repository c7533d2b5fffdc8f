"""The home: the folder that holds everything that Billhouse stores, and its write lock.

inbox/                  files that wait to be landed, one folder per kind (usage/, subscriptions/, customers/, credit_grants/,
                        voids/, metrics/, running/) or per source, as e2b-events/; files that the Dagster sensor has landed are
                        moved to inbox/.landed/
sources/                sources of the user's own, one SQL file each; docs/reference/sources.md
raw/                    landed rows, append-only Parquet: usage_events/, subscriptions/, customers/, credit_grants/, voids/,
                        sandbox_metrics/, running_listings/, quarantine/, retried_rows/, landed_files/; stripe/ is the mirror of
                        Stripe's objects; small files of a day of usage_events/ are merged into one with the same rows,
                        merged-*.parquet
ledger/                 closed months and what followed from them, append-only: closes/, approvals/, publications/, outbox/,
                        credit_notes/, quarantine_settlements/, accepted_terms/, alerts/, alert_deliveries/; manifest.jsonl
                        holds the SHA-256 of every file in raw/ and ledger/
warehouse.duckdb        the tables of all models; a cache of raw/ and ledger/: delete it, build, and it is restored
billhouse.duckdb        the report tables for analysts, read-only; each build replaces it by rename
marts/                  the report tables as Parquet (tables that grow with time: one folder each, one file per day or month), and
                        customer_balances.json for gateways
exports/                workbooks, statements and CSV files, one folder per month; simulations/ holds those of `simulate`
feeds.toml              the feeds that `billhouse feeds run` and Dagster run; docs/operate/queues.md
collecting/             the position of each source that is collected, one JSON file per source
receiving/              keys.json, the hashes of the senders' keys, and the locks of `billhouse receive`
landing-index/          finds known ids, sandboxes and files for landing; a cache of raw/: delete it, land, and it is restored
health/                 billhouse.prom, metrics for Prometheus
docs/                   the generated documentation of the models
build/                  inputs of the last build, and its result (last.json)
stripe-emulator.sqlite  the state of the local Stripe emulator
demo.json               marks a home that `billhouse demo` created
spark/                  the same as build/ and the warehouse, for builds on Spark
.dbt/                   dbt's logs and the SQL that it ran
.dagster/               Dagster's configuration, runs and events, if the UI was started with `billhouse ui`; commands/ holds the
                        reports of commands that Dagster has not recorded yet
.tmp/                   scratch folders of running commands; spill/ holds what DuckDB moves from memory to disk
.lock, .manifest.lock, .alerts.lock, .raising.lock, .health.lock, .export-2026-10.lock
                        lock files, the last one of the export of a month
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import find_system_error
from pipeline.core.files import make_folders
from pipeline.core.locks import hold_lock, is_locked
from pipeline.core.plain_text import plain_line, visible

HOME_VARIABLE = "BILLHOUSE_HOME"
DEFAULT_HOME = "./var"
_UNUSABLE = {
    ",": "a comma (DuckDB ends the folder's name there)",
    "?": "a question mark (dbt reads the rest as URL parameters)",
    "#": "a hash sign (dbt reads the rest as a URL fragment)",
    "\\": "a backslash (DuckDB reads it as a slash)",
}
"""Characters that the path of a home must not contain, and why."""
_CODE = Path(__file__).resolve().parents[2]
PROJECT_ROOT = _CODE if (_CODE / "dbt_project.yml").exists() else _CODE / "billhouse_project"
"""The dbt project and the standard price book: the checkout, or what a wheel installs of it beside the packages."""
SEEDS_VARIABLE = "BILLHOUSE_SEEDS"
SEEDS = Path(os.environ.get(SEEDS_VARIABLE) or PROJECT_ROOT / "seeds").expanduser().absolute()
"""The price book: the folder that BILLHOUSE_SEEDS names, or the one in the project."""


@dataclass(frozen=True)
class Home:
    """The paths in one home. Creating the object does not access the disk; `open` creates the folders."""

    path: Path

    @classmethod
    def open(cls, path: str | Path | None = None) -> Home:
        """The home at `path`, else at $BILLHOUSE_HOME, else ./var. Creates missing folders with mode 0700.

        Raises BillhouseError if the path contains a character that DuckDB, dbt or Dagster misread, or cannot be written to.
        """
        home = cls(Path(path or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve())
        _refuse_unusable(home.path)
        try:
            for folder in (home.inbox, home.raw, home.ledger, home.closes, home.outbox, home.marts, home.exports):
                make_folders(folder)
        except OSError as error:
            known = find_system_error(str(error))
            why, next_step = (known.message, known.next_step) if known is not None else (f"{error.strerror}.", "")
            raise BillhouseError(
                f"The home directory {home.path} cannot be used: {why}",
                next_step or "Choose a folder that you may write to with --home DIR or BILLHOUSE_HOME.",
            ) from error
        return home

    @property
    def inbox(self) -> Path:
        return self.path / "inbox"

    @property
    def sources(self) -> Path:
        """The user's own sources, one SQL file each. It need not exist."""
        return self.path / "sources"

    @property
    def raw(self) -> Path:
        return self.path / "raw"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger"

    @property
    def closes(self) -> Path:
        """One folder per closed month: ledger/closes/2026-10/."""
        return self.ledger / "closes"

    @property
    def manifest(self) -> Path:
        """The SHA-256 of every file in raw/ and ledger/; each line contains the hash of the line before it."""
        return self.ledger / "manifest.jsonl"

    @property
    def scratch(self) -> Path:
        """Scratch folders: commands write files here before renaming them into place."""
        return self.path / ".tmp"

    @property
    def accepted_terms(self) -> Path:
        """Price books that a person accepted although they change closed months, one JSON file each."""
        return self.ledger / "accepted_terms"

    @property
    def approvals(self) -> Path:
        """Approvals of invoices for publishing to Stripe, one Parquet file per decision."""
        return self.ledger / "approvals"

    @property
    def publications(self) -> Path:
        """The invoices that were published to Stripe, one Parquet file per publishing run."""
        return self.ledger / "publications"

    @property
    def outbox(self) -> Path:
        """Every Stripe request of a publishing run, before and after it was sent, one file per run."""
        return self.ledger / "outbox"

    @property
    def credit_notes(self) -> Path:
        """The credit notes that were issued, one Parquet file each."""
        return self.ledger / "credit_notes"

    @property
    def alerts(self) -> Path:
        """The alerts that were raised, one Parquet file per call."""
        return self.ledger / "alerts"

    @property
    def alert_deliveries(self) -> Path:
        """The delivery attempts of alerts on each channel, one Parquet file per call."""
        return self.ledger / "alert_deliveries"

    @property
    def collecting(self) -> Path:
        """The position of each collected source, one JSON file each."""
        return self.path / "collecting"

    @property
    def receiving(self) -> Path:
        """The hashes of the keys of those who post rows, and lock files."""
        return self.path / "receiving"

    @property
    def feeds(self) -> Path:
        """The configured feeds. It need not exist."""
        return self.path / "feeds.toml"

    @property
    def landing_index(self) -> Path:
        """The index of landed keys; derived from raw/."""
        return self.path / "landing-index"

    @property
    def command_reports(self) -> Path:
        """Reports of commands for Dagster. It exists only where a Dagster serves this home."""
        return self.path / ".dagster" / "commands"

    @property
    def health(self) -> Path:
        """Metrics for monitoring, in Prometheus' text format."""
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
        """Hold the home's write lock: one command writes at a time, others wait.

        A thread that holds the lock may acquire it again. Raises BillhouseError if another command still holds it after the
        timeout.
        """
        activity = f"writing to {self.path}"
        with hold_lock(self.path / ".lock", activity=activity, timeout_seconds=timeout_seconds, is_reentrant=True):
            yield

    def is_being_written(self) -> bool:
        """Whether a command holds the write lock now, as a build does while it runs."""
        return is_locked(self.path / ".lock")


def _refuse_unusable(path: Path) -> None:
    """Raises BillhouseError for a path with a character that DuckDB, dbt or Dagster misread, or that cannot be displayed."""
    text = str(path)
    found = [why for character, why in _UNUSABLE.items() if character in text]
    if (escape := re.search("%[0-9A-Fa-f]{2}", text)) is not None:
        found.append(f"{escape.group()} (Dagster decodes it)")
    if visible(text) != text or "\n" in text or "\t" in text:
        found.append("a character that cannot be displayed")
    if found:
        raise BillhouseError(
            f"The home directory {plain_line(text)} cannot be used: its path contains {' and '.join(found)}.",
            "Rename the folder, or choose another with --home DIR or BILLHOUSE_HOME.",
        )
