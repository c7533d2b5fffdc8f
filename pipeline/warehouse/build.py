"""Builds the warehouse with dbt, and gives analysts their own copy of it.

A build is a pure function of what has landed, what has been closed, the price book and `as_of`. It runs in one writer's file
(`warehouse.duckdb`); only when every check has passed do analysts get what is new (pipeline.warehouse.snapshot).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.failures import find_system_error, to_known_error
from pipeline.core.files import replace_atomically
from pipeline.core.home import HOME_VARIABLE, Home
from pipeline.core.plain_text import plain_line
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
from pipeline.store.raw import file_id_of, landed_files
from pipeline.warehouse.build_inputs import code_version, definitions_stand, input_digests, models_to_refresh, project_digest
from pipeline.warehouse.project import project_of
from pipeline.warehouse.snapshot import publish_snapshot

_SHOWN_ROWS = 3
"""Of what a failed check found."""


@dataclass(frozen=True)
class Step:
    """One seed, model or check that a build ran."""

    unique_id: str
    """As in dbt's manifest: model.billhouse.invoices."""
    status: str
    """success, pass, warn, fail, error or skipped."""
    seconds: float
    failures: int | None = None
    """Rows that a check found wrong."""
    message: str = ""

    @property
    def has_failed(self) -> bool:
        return self.status in ("error", "fail", "runtime error")


class BuildFailedError(BillhouseError):
    """Models or checks failed; the reports stay as the last good build left them."""

    def __init__(self, message: str, next_step: str, ran: Sequence[Step]) -> None:
        self.ran = ran
        super().__init__(message, next_step)


@dataclass(frozen=True)
class BuildResult:
    """What a build did."""

    as_of: datetime
    ran: Sequence[Step]
    """Seeds, models and checks that ran."""
    seconds: float
    tables: dict[str, int]
    """Rows of each report table."""
    ignored_events: dict[str, int] = field(default_factory=dict)
    """Accepted events without effect on a session, by reason."""
    defaulted_sessions: int = 0
    """Sessions of which the plan's default sandbox supplies a resource."""
    unmatched_voids: Sequence[str] = ()
    """Voided ids of which no event and no grant has landed: a slip, or the record is still to come."""

    @property
    def steps(self) -> int:
        return len(self.ran)

    def as_dict(self) -> dict[str, Any]:
        return {
            "as_of": self.as_of.isoformat(),
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "tables": self.tables,
            "ignored_events": self.ignored_events,
            "defaulted_sessions": self.defaulted_sessions,
            "unmatched_voids": list(self.unmatched_voids),
        }


@dataclass(frozen=True)
class BuildRecord:
    """What a warehouse was built from."""

    as_of: datetime
    inputs: Mapping[str, str]
    """Digests, as of pipeline.warehouse.build_inputs; none of a build that has not finished."""
    steps: int = 0
    """How many seeds, models and checks it ran."""


def build(
    home: Home,
    as_of: datetime | None = None,
    *,
    project: Path | None = None,
    from_scratch: bool = False,
    on_progress: OnProgress | None = None,
    is_reconstruction: bool = False,
) -> BuildResult:
    """Build every model and run every check that something new could change, then swap the analysts' copy.

    `as_of`: events after this instant are not seen; now where none is given. `project`: where dbt_project.yml and the price
    book are; by default `project_of` the home. `from_scratch`: reuse nothing of the last build; the result is the same, to the
    byte. `is_reconstruction`: the price book is one of the past, or a trial; terms in it that can never apply are no error.

    Raises PriceBookError, or BuildFailedError that names each model or check that failed.
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
        standing = last_build(home)
        from_scratch = from_scratch or _has_lost_files(home)
        if standing is not None:  # from here on the warehouse is not what the last build left
            _record_build(home, BuildRecord(standing.as_of, {}))
        prepare_build(home, as_of, project)
        record = BuildRecord(as_of, input_digests(home, as_of, project))
        before = {} if standing is None or from_scratch else standing.inputs
        ran = run_dbt(
            home, project, on_progress, *_selection(before, record.inputs), *(["--full-refresh"] if from_scratch else [])
        )
        tables = publish_snapshot(home, project)
        _record_build(home, replace(record, steps=len(ran)))
        with open_warehouse(home) as warehouse:
            ignored = dict(
                warehouse.execute("select reason, count(*) from billing.ignored_events group by all order by all").fetchall()
            )
            defaulted = warehouse.execute("select count(*) from usage.sandbox_sessions where has_defaulted_resources").fetchall()
            unmatched = warehouse.execute(
                "select event_id from staging.event_voids where sandbox_id is null union all"
                " select grant_id from staging.stg_voids where grant_id is not null"
                " and grant_id not in (select grant_id from billing.credit_grants) order by 1"
            ).fetchall()
    seconds = (datetime.now(UTC) - started_at).total_seconds()
    return BuildResult(as_of, ran, seconds, tables, ignored, defaulted[0][0], [voided_id for (voided_id,) in unmatched])


def _selection(before: Mapping[str, str], now: Mapping[str, str]) -> Sequence[str]:
    """What dbt is to build, where the last build was of these inputs: no more than what something new could change."""
    if (changed := models_to_refresh(before, now)) is not None:
        return ["--select", *(f"{model}+" for model in changed)]
    if definitions_stand(before, now):
        return ["--select", "config.materialized:table", "config.materialized:kept", "resource_type:test"]
    return []


def prepare_build(home: Home, as_of: datetime, project: Path | None = None, *, folder: str = "build") -> None:
    """Write the build's inputs where the models read them, and make sure that each collection is there to be read.

    `folder`: under the home, where the engine's models look for them.
    """
    settings, project = Settings.load(), project or project_of(home)
    _refuse_opening_after_close(home, settings)
    ensure_collections(home)
    finish_interrupted(home)
    spill = home.scratch / "spill"
    shutil.rmtree(spill, ignore_errors=True)  # what a killed build left: one builds at a time
    spill.mkdir(mode=0o700, parents=True)
    inputs = home.path / folder / "inputs.parquet"
    inputs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What a build may take over from the last one hangs on these. Another DuckDB may write other bytes of the same rows.
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
    """The books cannot open after a month that is closed: its lines would be taken back."""
    closed = closed_periods(home)
    if closed and closed[0].start < settings.books_open_at:
        raise BillhouseError(
            f"The books open with {settings.first_billing_month} (BILLHOUSE_FIRST_BILLING_MONTH), but {closed[0]} is closed.",
            f"Set BILLHOUSE_FIRST_BILLING_MONTH to {closed[0]} or an earlier month.",
        )


def dbt_environment(home: Home) -> dict[str, str]:
    """The environment variables that profiles.yml and the models read."""
    return {HOME_VARIABLE: str(home.path)}


def dbt_arguments(home: Home, project: Path | None = None, folder: str = ".dbt") -> list[str]:
    """Where dbt finds the project and keeps its own files: one folder a home and engine."""
    project = project or project_of(home)
    return [
        *("--project-dir", str(project)),
        *("--profiles-dir", str(project)),
        *("--target-path", str(home.path / folder / "target")),
        *("--log-path", str(home.path / folder / "logs")),
    ]


@contextmanager
def open_warehouse(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """The models' tables, to read; hold the home for writing meanwhile, since one process at a time may open the file.

    Raises BillhouseError where nothing was built yet.
    """
    if not home.warehouse.exists():
        raise BillhouseError(f"Nothing has been built in {home.path} yet.", "Build first: billhouse build")
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        # The staging views name files relative to the home.
        connection.execute(f"set file_search_path = {quoted(home.path)}")
        yield connection


def last_build(home: Home) -> BuildRecord | None:
    """What the standing warehouse was built from, or None where there is none."""
    try:
        record = json.loads((home.path / "build" / "last.json").read_text())
        stands = home.warehouse.exists() and home.analysts_file.exists()
        inputs, steps = (record["inputs"], record.get("steps", 0)) if stands else ({}, 0)
        return BuildRecord(datetime.fromisoformat(record["as_of"]), inputs, steps)
    except (FileNotFoundError, KeyError, ValueError):
        return None


def is_current(home: Home, as_of: datetime, project: Path | None = None) -> bool:
    """Whether a build as of this instant would only repeat the standing one."""
    record = last_build(home)
    return record is not None and record.inputs == input_digests(home, as_of, project or project_of(home))


def _has_lost_files(home: Home) -> bool:
    """Whether the warehouse holds rows of files that have not landed any more: raw/ was put back to what it once was."""
    landed = [file_id_of(row) for row in landed_files(home)]
    try:
        with duckdb.connect(str(home.warehouse), read_only=True) as connection:
            lost = connection.execute(
                "select count(*) from (from build_state.folded_files union all by name from sample_state.folded_samples)"
                " where file_id not in (select unnest($1::varchar[]))",
                [landed],
            ).fetchall()
    except (duckdb.IOException, duckdb.CatalogException):  # nothing was built yet
        return False
    return bool(lost[0][0])


def _record_build(home: Home, record: BuildRecord) -> None:
    with replace_atomically(home.path / "build" / "last.json", scratch=home.scratch) as path:
        path.write_text(json.dumps({"as_of": record.as_of.isoformat(), "inputs": record.inputs, "steps": record.steps}))


def run_dbt(
    home: Home, project: Path, on_progress: OnProgress | None, *more: str, folder: str = ".dbt", unit_tests: bool = False
) -> list[Step]:
    """One `dbt build` in this process, with more arguments. Returns the steps that ran; raises BuildFailedError where one failed.

    `folder`: under the home, for dbt's own files. `unit_tests`: hold the models against their examples too.
    """
    from dbt.cli.main import dbtRunner  # dbt takes seconds to import; only a build needs it

    done = 0

    def follow(event: Any) -> None:
        nonlocal done
        if on_progress is not None and event.info.name == "LogStartLine":
            done = event.data.index
            on_progress(event.data.description.rsplit(".", 1)[-1], event.data.index, event.data.total)

    log = home.path / folder / "logs" / "dbt.log"
    without = [] if unit_tests else ["--exclude-resource-type", "unit_test"]
    arguments = ["build", *dbt_arguments(home, project, folder), *without, *more]
    # No pages of JSON on all that dbt knows: nobody reads them, and they are a sixth of a small build's time.
    quiet = ["--quiet", "--log-level", "none", "--log-level-file", "info", "--no-send-anonymous-usage-stats", "--no-write-json"]
    with environment(dbt_environment(home)):
        try:
            outcome = dbtRunner(callbacks=[follow]).invoke([*arguments, *quiet])
        finally:
            let_go_of_the_warehouse()
    if outcome.exception is not None:
        if (failure := to_known_error(outcome.exception)) is not None:
            raise failure from outcome.exception
        raise BillhouseError(
            f"The models could not be built: {outcome.exception}",
            f"The log is in {log}.",
        )
    results: list[Any] = list(outcome.result)  # type: ignore[arg-type]
    ran = [
        Step(
            result.node.unique_id,
            str(result.status),
            result.execution_time,
            result.failures,
            " ".join(str(result.message or "").split()),
        )
        for result in results
    ]
    failed = [result for result, step in zip(results, ran, strict=True) if step.has_failed]
    if failed:
        if (
            failure := next(filter(None, (find_system_error(step.message) for step in ran if step.has_failed)), None)
        ) is not None:
            stands = "The build stopped; the reports stay as the last good build left them."
            raise BuildFailedError(f"{failure.message} {stands}", failure.next_step, ran)
        listed = "\n".join(f"  {_told(result)}{_failing_rows(home, result.node)}" for result in failed[:20])
        raise BuildFailedError(
            f"{len(failed)} of {len(results)} steps of the build failed; the reports stay as the last good build left them."
            f"\n{listed}\n",
            f"The log is in {log}.",
            ran,
        )
    return ran


def let_go_of_the_warehouse() -> None:
    """dbt-duckdb keeps its database open for the life of the process; the snapshot, and other processes, need it closed."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    manager: Any = DuckDBConnectionManager
    if manager._ENV is not None:  # noqa: SLF001 - env() raises where there is none
        manager._ENV.close()  # noqa: SLF001
        manager.close_all_connections()


def _told(result: Any) -> str:
    node = result.node
    what = {"model": "model", "seed": "price book file", "test": "check"}.get(str(node.resource_type), "step")
    message = " ".join(str(result.message or "").split())
    described = f" ({node.description.strip()})" if what == "check" and node.description else ""
    return f"{what} {node.name}{described}: {message}"


def _failing_rows(home: Home, node: Any) -> str:
    """The first rows that a failed check found, each on a line of its own: they name customers, instants and what is missing."""
    query = getattr(node, "compiled_code", None)
    if str(node.resource_type) != "test" or not query:
        return ""
    try:
        with open_warehouse(home) as warehouse:
            found = warehouse.execute(f"select * from ({query}) as found limit {_SHOWN_ROWS}")
            columns = [column[0] for column in found.description or ()]
            rows = found.fetchall()
    except (duckdb.Error, BillhouseError):  # it failed for another reason, or on another engine: the log has it
        return ""
    return "".join(
        "\n    "
        + ", ".join(f"{column} {plain_line(value)}" for column, value in zip(columns, row, strict=True) if value is not None)
        for row in rows
    )


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the time of a block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
