"""The work of the command line in Dagster's history: commands leave reports, and a sensor records them as runless events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from time import monotonic, time
from typing import Any

import dagster as dg
import duckdb

from orchestration.command_results import KINDS_OF_WORK, NotNowError
from orchestration.lib.command_events import record_stored, store_events
from orchestration.lib.resources import BillhouseHome
from orchestration.month_end import ledger_is_as_written
from orchestration.warehouse import build_warehouse
from pipeline.core.errors import LockedError
from pipeline.core.failures import convert_errors, to_billhouse_error
from pipeline.core.files import make_folders
from pipeline.core.home import Home
from pipeline.core.locks import hold_lock
from pipeline.monitoring.command_reports import (
    CommandReport,
    read_report,
    set_aside,
    stored_events,
    unrecorded_work,
    waiting_reports,
)

_SECONDS = 10.0
"""How long one evaluation of the sensor records. Other sensors wait for it, and Dagster ends one after 60 seconds."""
_RETRY_SECONDS = 600.0
"""How long a report is tried again whose files cannot be read, or whose events Dagster refuses."""


@dataclass(frozen=True)
class _Work:
    """A validated report."""

    paths: list[Path]
    """The report, and those of earlier builds that it contains."""
    report: CommandReport
    result: Any


def record_reports(
    instance: dg.DagsterInstance,
    home: Home,
    seconds: float | None = None,
    on_problem: Callable[[str], object] = lambda _: None,
) -> int:
    """Record the reports of commands as runless events, and remove them; returns the number of events.

    A build is recorded with the numbers that the warehouse has now, since later builds replace them. While another command
    writes, or after a failed build, it waits. `seconds`: record no longer than these; the next call goes on there. A report that
    cannot be recorded is moved to commands/failed/ and given to `on_problem`; the others are recorded. One process records at a
    time: raises LockedError where another one does.
    """
    started, recording, recorded = monotonic(), 0.0, 0
    with hold_lock(home.command_reports / ".lock", activity="recording what commands did", timeout_seconds=0):
        for path in _files_of_events(home, on_problem):
            began = monotonic()
            try:
                recorded += record_stored(instance, home, path, None if seconds is None else began + seconds - recording)
            except Exception as error:
                _retry_or_set_aside(home, path, error, on_problem, is_temporary=True)
            recording += monotonic() - began
            if seconds is not None and (recording >= seconds or monotonic() - started >= seconds):
                break
    return recorded


def _files_of_events(home: Home, on_problem: Callable[[str], object]) -> Iterator[Path]:
    """Those that an earlier call has made, then one for each report; each is made when it is needed."""
    yield from stored_events(home)
    for work in _readable(home, on_problem):
        if (path := _make_events(home, work, on_problem)) is not None:
            yield path


def _readable(home: Home, on_problem: Callable[[str], object]) -> list[_Work]:
    """The reports, with one build for several that succeeded: the last, of the days and steps of all of them."""
    found: list[_Work] = []
    for path in waiting_reports(home):
        try:
            report = read_report(path)
            if report.work not in KINDS_OF_WORK:
                raise ValueError(f"Unknown command {report.work!r}.")
            found.append(_Work([path], report, report.result_as(KINDS_OF_WORK[report.work].type_)))
        except FileNotFoundError:
            continue
        except Exception as error:
            _retry_or_set_aside(home, path, error, on_problem, is_temporary=isinstance(error, OSError))
    builds = [work for work in found if work.report.work == "build" and not work.result.has_failed]
    if len(builds) < 2:
        return found
    steps = {step.unique_id: step for work in builds for step in work.result.steps}
    days = {day for work in builds for day in work.result.days}
    result = replace(builds[-1].result, steps=list(steps.values()), days=sorted(days))
    merged = replace(builds[-1], paths=[path for work in builds for path in work.paths], result=result)
    return [merged if work is builds[-1] else work for work in found if work not in builds[:-1]]


def _make_events(home: Home, work: _Work, on_problem: Callable[[str], object]) -> Path | None:
    """Replace a report by the file of its events, and return it; None if that is not possible, or not now."""
    known = KINDS_OF_WORK[work.report.work]
    extra: dict[str, Any] = {"finished_at": dg.MetadataValue.timestamp(work.report.finished_at)}
    if known.is_history:
        extra["history"] = "from the files of the home"
    else:
        extra["command"] = f"billhouse {work.report.work}"
    try:
        return store_events(home, work.paths, known.events(home, work.report, work.result), extra, _blocking_checks())
    except NotNowError:
        return None
    except Exception as error:
        for path in work.paths:
            _retry_or_set_aside(home, path, error, on_problem, is_temporary=isinstance(error, OSError | duckdb.IOException))
        return None


def _retry_or_set_aside(
    home: Home, path: Path, error: Exception, on_problem: Callable[[str], object], *, is_temporary: bool
) -> None:
    """Leave a report for the next call, or move it away: it never prevents others from being recorded."""
    reason = str(error) if isinstance(error, ValueError) else str(to_billhouse_error(error))
    try:
        if is_temporary and time() - path.stat().st_mtime < _RETRY_SECONDS:
            on_problem(f"{path.name} is tried again. {reason}")
            return
        set_aside(home, path, reason)
        on_problem(f"{path.name} is not recorded, and is in {home.command_reports / 'failed'}. {reason}")
    except OSError as failure:
        on_problem(f"{path.name} cannot be moved away ({failure}). {reason}")


@cache
def _blocking_checks() -> frozenset[dg.AssetCheckKey]:
    domains = (build_warehouse, ledger_is_as_written)
    return frozenset(spec.key for assets in domains for spec in assets.check_specs if spec.blocking)


@dg.sensor(
    name="record_commands",
    description="Record in the graph what was done on the command line. Launches nothing.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=10,
)
@convert_errors
def record_commands(context: dg.SensorEvaluationContext, home: dg.ResourceParam[BillhouseHome]) -> dg.SkipReason:
    """Commands report only where this folder is: it says that a Dagster serves the home."""
    make_folders(home.home.command_reports)
    if not unrecorded_work(home.home):
        return dg.SkipReason("No command has done anything since.")
    try:
        number = record_reports(context.instance, home.home, _SECONDS, context.log.error)
    except LockedError as error:
        return dg.SkipReason(error.message)
    return dg.SkipReason(f"Recorded {number} events of commands.")


def domain_definitions() -> dg.Definitions:
    """What this domain defines."""
    return dg.Definitions(sensors=[record_commands])
