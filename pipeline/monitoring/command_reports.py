"""Reports of commands for Dagster, so that its graph and history also show the work of the command line.

    <home>/.dagster/commands/<nanoseconds>-<id>.json    what one command did; Dagster makes events of it, then removes it
    <home>/.dagster/commands/failed/                    the newest reports that Dagster could not record, each with its reason

Only a Dagster that serves the home creates the folder; without it, a command reports nothing. The events are made by
`orchestration.commands` from the same results as in a Dagster run (decision 21).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from pipeline.core.errors import BillhouseError
from pipeline.core.files import make_folders, replace_atomically
from pipeline.core.home import Home
from pipeline.core.plain_text import plain_json, plain_text
from pipeline.warehouse.build_steps import BuildStep

MOST_WAITING = 1_000
"""Reports that wait at most; beyond it the oldest are removed: the folder does not grow without end if Dagster never runs."""
MOST_FAILED = 20
"""Reports that Dagster could not record, and that are stored for a person to look at."""
MOST_BYTES = 16 << 20
"""Of one report: some 30,000 landed files."""
_REASON_CHARACTERS = 2_000

T = TypeVar("T")


class CommandReport(BaseModel):
    """What one command did, as in its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    work: str = Field(max_length=100)
    """The command, as in `close`."""
    finished_at: AwareDatetime
    result: Any
    """The command's result as JSON."""

    def result_as(self, type_: type[T]) -> T:
        """The result, which was of this type. Raises pydantic.ValidationError for a report of another version."""
        return TypeAdapter(type_).validate_python(self.result)


@dataclass(frozen=True)
class BuildReport:
    """What a build did, also one that failed."""

    as_of: datetime
    steps: Sequence[BuildStep]
    days: list[str]
    """UTC days, as 2026-10-01, with rows that landed since the build before."""
    has_failed: bool = False


def reports_replaced_at(home: Home) -> float:
    """When the last build replaced the analysts' file, seconds since 1970; 0.0 where there is none."""
    return home.analysts_file.stat().st_mtime if home.analysts_file.exists() else 0.0


def days_landed(home: Home, since: float, until: float = float("inf")) -> set[str]:
    """UTC days, as 2026-10-01, with rows that landed after `since` and not after `until`, seconds since 1970."""
    found = set()
    for path in home.raw.glob("*/*=*/*.parquet"):
        with suppress(FileNotFoundError):  # merged with others since it was listed
            if since < path.stat().st_mtime <= until:
                found.add(path.parent.name.partition("=")[2])
    return found


def build_report(home: Home, as_of: datetime, steps: Sequence[BuildStep], replaced_before: float) -> BuildReport:
    """The report of a build that succeeded. `replaced_before`: `reports_replaced_at` before it.

    Landing and building never run at the same time: what landed after the analysts' file was replaced is not in the build.
    """
    return BuildReport(as_of, steps, sorted(days_landed(home, replaced_before, reports_replaced_at(home))))


def failed_build_report(as_of: datetime, steps: Sequence[BuildStep]) -> BuildReport:
    """The report of a build in which a model or check failed."""
    return BuildReport(as_of, steps, [], has_failed=True)


def report_command(home: Home, work: str, result: Any, finished_at: datetime | None = None) -> None:
    """Write the report of a command. `result`: a dataclass, or a list of them; `finished_at`: default, now. Needs no lock."""
    at = finished_at or datetime.now(UTC)
    text = plain_json({"work": work, "finished_at": at.isoformat(), "result": _as_json(result)})
    if len(text) > MOST_BYTES:
        raise BillhouseError(f"The report of `{work}` is larger than {MOST_BYTES >> 20} MB.")
    path = home.command_reports / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    with replace_atomically(path, scratch=home.scratch, sync=False) as new:
        new.write_text(text, encoding="ascii")
    for old in waiting_reports(home)[:-MOST_WAITING]:
        old.unlink(missing_ok=True)


def waiting_reports(home: Home) -> list[Path]:
    """The reports of which Dagster has made no events yet, in order."""
    return sorted(path for path in home.command_reports.glob("[!.]*.json") if path.is_file())


def stored_events(home: Home) -> list[Path]:
    """The files of events that Dagster has not recorded in full (`orchestration.lib.command_events`), in order."""
    return sorted(path for path in home.command_reports.glob("[!.]*.events") if path.is_file())


def unrecorded_work(home: Home) -> list[Path]:
    """Everything that Dagster has not recorded yet."""
    return [*stored_events(home), *waiting_reports(home)]


def read_report(path: Path) -> CommandReport:
    """Read a report. Raises FileNotFoundError if it was removed, ValueError if it is not a valid report."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"It has {size:,} bytes.")
    return CommandReport.model_validate_json(path.read_bytes())


def set_aside(home: Home, path: Path, reason: str) -> None:
    """Move a report, or events of it, that cannot be recorded to failed/, with the reason in a text file beside it."""
    folder = home.command_reports / "failed"
    make_folders(folder)
    with suppress(FileNotFoundError):
        os.replace(path, folder / path.name)
    reason_file = folder / f"{path.name}.txt"
    reason_file.write_text(plain_text(reason)[:_REASON_CHARACTERS], encoding="utf-8")
    for old in sorted(folder.glob("*.txt"))[:-MOST_FAILED]:
        old.with_suffix("").unlink(missing_ok=True)
        old.unlink(missing_ok=True)


def failed_reports(home: Home) -> list[str]:
    """The reasons of the reports that Dagster could not record, the newest first."""
    files = sorted((home.command_reports / "failed").glob("*.txt"), reverse=True)
    return [file.read_text(encoding="utf-8") for file in files]


def _as_json(result: Any) -> Any:
    if isinstance(result, list):
        return [_as_json(one) for one in result]
    return TypeAdapter(type(result)).dump_python(result, mode="json")
