"""Builds the warehouse: prepares its inputs, runs the dbt models and checks that can have changed, publishes the snapshot.

The result depends only on the landed files, the ledger, the price book, the settings and `as_of`. A build writes
`warehouse.duckdb`; the analysts' files are replaced only when every check has passed (pipeline.warehouse.snapshot).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.files import replace_atomically
from pipeline.core.home import Home
from pipeline.core.progress import OnProgress
from pipeline.core.settings import Settings
from pipeline.core.sql import quoted
from pipeline.pricebook.edits import require_unedited_prices
from pipeline.pricebook.price_book import DEFAULT_CURRENCY
from pipeline.pricebook.reachability import require_contracts_in_customers_currency
from pipeline.pricebook.validation import require_valid_price_book
from pipeline.store.all_collections import ensure_collections
from pipeline.store.append import finish_interrupted
from pipeline.store.closes import closed_periods
from pipeline.store.raw import landed_file_ids
from pipeline.warehouse.build_inputs import (
    are_definitions_unchanged,
    code_version,
    input_digests,
    parts_to_rebuild,
    project_digest,
    readers,
)
from pipeline.warehouse.build_record import BuildRecord, last_build, write_build_record
from pipeline.warehouse.build_steps import BuildStep
from pipeline.warehouse.connection import open_warehouse
from pipeline.warehouse.dbt_run import run_dbt
from pipeline.warehouse.parsed_project import parsed_project
from pipeline.warehouse.project import project_of
from pipeline.warehouse.snapshot import publish_snapshot

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


@dataclass(frozen=True)
class BuildResult:
    """What a build did."""

    as_of: datetime
    steps: Sequence[BuildStep]
    """Seeds, models and checks that ran."""
    seconds: float
    tables: dict[str, int]
    """Rows of each report table."""
    ignored_events: dict[str, int] = field(default_factory=dict)
    """Accepted events without effect on a session, by reason."""
    defaulted_sessions: int = 0
    """Sessions with a resource from their plan's default sandbox."""
    unmatched_voids: Sequence[str] = ()
    """Voided ids for which no event and no grant has landed (yet)."""

    @property
    def step_count(self) -> int:
        return len(self.steps)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "as_of": self.as_of.isoformat(),
            "steps": self.step_count,
            "seconds": round(self.seconds, 3),
            "tables": self.tables,
            "ignored_events": self.ignored_events,
            "defaulted_sessions": self.defaulted_sessions,
            "unmatched_voids": list(self.unmatched_voids),
        }


def build(
    home: Home,
    as_of: datetime | None = None,
    *,
    project: Path | None = None,
    from_scratch: bool = False,
    on_progress: OnProgress | None = None,
    is_reconstruction: bool = False,
) -> BuildResult:
    """Build the models and run the checks that a changed input can affect, then replace the analysts' files.

    `as_of`: ignore events after this instant; default: now. `project`: the folder of dbt_project.yml and the price book;
    default: `project_of` the home.
    `from_scratch`: reuse nothing of the last build; the result is the same, byte for byte. `is_reconstruction`: the price book is
    a past one or a trial, so that terms in it that can never apply are not an error. Raises PriceBookError, or BuildFailedError
    that names each model or check that failed.
    """
    started_at = datetime.now(UTC)
    as_of = as_of or started_at
    with home.writing():
        finish_interrupted(home)
        project = project or project_of(home)
        require_valid_price_book(project / "seeds", with_reachability=not is_reconstruction)
        if not is_reconstruction:
            require_contracts_in_customers_currency(home, project / "seeds")
        require_unedited_prices(home, project / "seeds")
        previous = last_build(home)
        from_scratch = from_scratch or _has_lost_files(home)
        if previous is not None:  # from here on the warehouse no longer matches the record of the last build
            write_build_record(home, BuildRecord(previous.as_of, {}))
        prepare_build(home, as_of, project)
        record = BuildRecord(as_of, input_digests(home, as_of, project))
        before = {} if previous is None or from_scratch else previous.inputs
        manifest = parsed_project(home, project)
        selection = _selection(manifest, project, before, record.inputs)
        full_refresh = ["--full-refresh"] if from_scratch else []
        # One check, `columns_follow_their_rules`, runs the generic tests in one query.
        exclude = ["--exclude", "test_type:generic"]
        steps = run_dbt(home, project, on_progress, *selection, *exclude, *full_refresh, manifest=manifest)
        built = {manifest.nodes[step.unique_id].alias for step in steps if step.unique_id in manifest.nodes}
        tables = publish_snapshot(home, project, built=built)
        write_build_record(home, replace(record, step_count=len(steps), seconds=_seconds_since(started_at)))
        with open_warehouse(home) as warehouse:
            ignored_events = dict(
                warehouse.execute("select reason, count(*) from billing.ignored_events group by all order by all").fetchall()
            )
            defaulted = warehouse.execute("select count(*) from usage.sandbox_sessions where has_defaulted_resources").fetchall()
            unmatched = warehouse.execute(
                "select event_id from staging.event_voids where sandbox_id is null union all"
                " select grant_id from staging.stg_voids where grant_id is not null"
                " and grant_id not in (select grant_id from billing.credit_grants) order by 1"
            ).fetchall()
    unmatched_voids = [voided_id for (voided_id,) in unmatched]
    return BuildResult(as_of, steps, _seconds_since(started_at), tables, ignored_events, defaulted[0][0], unmatched_voids)


def _seconds_since(started_at: datetime) -> float:
    return (datetime.now(UTC) - started_at).total_seconds()


def _selection(manifest: Manifest, project: Path, before: Mapping[str, str], now: Mapping[str, str]) -> Sequence[str]:
    """The arguments by which dbt selects what a change from these input digests to those can affect; none: everything."""
    parts = parts_to_rebuild(before, now, project)
    if parts is not None:
        return ["--select", *(f"{model}+" for model in readers(manifest, parts))]
    if are_definitions_unchanged(before, now):
        with_rows = [f"config.materialized:{name}" for name in ("table", "incremental_replace", "dirty_rows")]
        return ["--select", *with_rows, "resource_type:test"]
    return []


def prepare_build(home: Home, as_of: datetime, project: Path | None = None, *, folder: str = "build") -> None:
    """Write the build's parameters where the models read them, and make every collection readable (an empty one, too).

    `folder`: under the home; each engine's models read their own.
    """
    settings = Settings.load()
    _refuse_opening_after_close(home, settings)
    ensure_collections(home)
    finish_interrupted(home)
    spill = home.scratch / "spill"
    shutil.rmtree(spill, ignore_errors=True)  # left by a build that was killed: the write lock allows one build at a time
    spill.mkdir(mode=0o700, parents=True)
    inputs = home.path / folder / "inputs.parquet"
    inputs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # An incremental build reuses rows only under the same two versions; another DuckDB may write other bytes of the same rows.
    project = project or project_of(home)
    versions = code_version(project), project_digest(project, "seeds")
    with replace_atomically(inputs, scratch=home.scratch) as path, duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(
            "copy (select ?::timestamptz as as_of, ?::timestamptz as books_open_at, ?::bigint as heartbeat_timeout_seconds,"
            " ?::varchar as default_currency, ?::varchar as code_version, ?::varchar as price_version)"
            f" to {quoted(path)} (format parquet)",
            [as_of, settings.books_open_at, settings.heartbeat_timeout_seconds, DEFAULT_CURRENCY, *versions],
        )


def _refuse_opening_after_close(home: Home, settings: Settings) -> None:
    """The first billing month cannot be later than a closed month: the closed month's lines would be credited back."""
    closed = closed_periods(home)
    if closed and closed[0].start < settings.books_open_at:
        raise BillhouseError(
            f"The first billing month is {settings.first_billing_month} (BILLHOUSE_FIRST_BILLING_MONTH), but {closed[0]} is"
            " closed.",
            f"Set BILLHOUSE_FIRST_BILLING_MONTH to {closed[0]} or an earlier month.",
        )


def _has_lost_files(home: Home) -> bool:
    """Whether the warehouse holds rows of files that are no longer in raw/: it was restored to an earlier state."""
    try:
        with duckdb.connect(str(home.warehouse), read_only=True) as connection:
            lost = connection.execute(
                "select count(*) from (from build_state.compacted_files union all by name from sample_state.read_samples)"
                " where file_id not in (select unnest($1::varchar[]))",
                [landed_file_ids(home)],
            ).fetchall()
    except (duckdb.IOException, duckdb.CatalogException):  # nothing was built yet
        return False
    return bool(lost[0][0])
