"""Reports of commands for Dagster, so that its graph and history also show the work of the command line.

    <home>/.dagster/commands/<nanoseconds>-<id>.json    one file for each command; Dagster removes it when it has recorded it

Only a Dagster that serves the home creates the folder; without it, a command reports nothing. The events are made by
`orchestration.commands` from the same results as in a Dagster run (decision 21).
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from pipeline.core.home import Home
from pipeline.warehouse.build_steps import BuildStep

MOST_WAITING = 1_000
"""Reports that wait at most; beyond it the oldest are removed: the folder does not grow without end if Dagster never runs."""

T = TypeVar("T")


@dataclass(frozen=True)
class CommandReport:
    """What one command did."""

    path: Path
    work: str
    """The command, as in `close`."""
    finished_at: datetime
    result: Any
    """The command's result as JSON."""
    details: dict[str, Any]
    recorded: int = 0
    """Its events that Dagster has recorded already."""

    def result_as(self, type_: type[T]) -> T:
        """The result, which was of this type. Raises pydantic.ValidationError for a report of another version."""
        return TypeAdapter(type_).validate_python(self.result)


@dataclass(frozen=True)
class BuildReport:
    """What a build did, also one that failed."""

    as_of: datetime
    steps: Sequence[BuildStep]
    replaced_at: float
    """When the reports were replaced before this build, seconds since 1970; 0.0: never."""
    has_failed: bool = False


def are_reports_read(home: Home) -> bool:
    """Whether a Dagster serves this home and reads reports."""
    return home.command_reports.is_dir()


def reports_replaced_at(home: Home) -> float:
    """When the last build replaced the analysts' file, seconds since 1970; 0.0 where there is none."""
    return home.analysts_file.stat().st_mtime if home.analysts_file.exists() else 0.0


def report_command(home: Home, work: str, result: Any, **details: Any) -> None:
    """Write the report of a command. `result`: a dataclass, or a list of them; `details`: JSON values. Needs no lock."""
    folder = home.command_reports
    written = {
        "work": work,
        "finished_at": datetime.now(UTC).isoformat(),
        "result": _as_json(result),
        "details": details,
    }
    _write(folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json", written)
    for old in _waiting(home)[:-MOST_WAITING]:
        old.unlink(missing_ok=True)


def waiting_reports(home: Home) -> list[CommandReport]:
    """The reports that Dagster has not recorded yet, in order. Files that are no reports are removed."""
    found = []
    for path in _waiting(home):
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            at = datetime.fromisoformat(read["finished_at"])
            found.append(CommandReport(path, read["work"], at, read["result"], read["details"], read.get("recorded", 0)))
        except FileNotFoundError:
            continue
        except (KeyError, TypeError, ValueError):
            path.unlink(missing_ok=True)
    return found


def write_progress(report: CommandReport, recorded: int) -> None:
    """Record in a report that Dagster has its first events."""
    written = json.loads(report.path.read_text(encoding="utf-8"))
    _write(report.path, {**written, "recorded": recorded})


def _write(path: Path, written: dict[str, Any]) -> None:
    new = path.with_name(f".{path.name}")
    new.write_text(json.dumps(written), encoding="utf-8")
    new.chmod(0o600)
    os.replace(new, path)


def _waiting(home: Home) -> list[Path]:
    return sorted(path for path in home.command_reports.glob("*.json") if not path.name.startswith("."))


def _as_json(result: Any) -> Any:
    if isinstance(result, list):
        return [_as_json(one) for one in result]
    return TypeAdapter(type(result)).dump_python(result, mode="json")
