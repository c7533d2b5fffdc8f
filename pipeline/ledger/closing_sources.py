"""The items of the closing checklist about rows that may not have landed: files in the inbox, and feeds."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core.errors import BillhouseError, InputFileError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.feeds.configured import read_feeds
from pipeline.landing.inbox import waiting_files
from pipeline.landing.input_files import examine
from pipeline.landing.land import Reading
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import find_source
from pipeline.ledger.checklist_item import ChecklistItem, CheckState, item, shown_minute
from pipeline.store.raw import landed_file_rows


def inbox_item(home: Home, period: BillingPeriod) -> ChecklistItem:
    """Files that wait. A landed file that is still there does not count: landing it again lands nothing."""
    landed = _LandedFiles(home)
    folders = sorted(path.name for path in home.inbox.iterdir() if path.is_dir() and not path.name.startswith("."))
    files, waiting = 0, []
    for path in (path for folder in folders for path in waiting_files(home, folder)):
        try:
            found = path.lstat()
            has_landed = landed.has(path, found)
        except FileNotFoundError:  # a landing has moved it meanwhile
            continue
        files += 1
        if not has_landed:
            waiting.append((path, found))
    if not waiting:
        return item("inbox", "Inbox", CheckState.OK, f"{files:,} files, all landed." if files else "Empty.")
    oldest, found = min(waiting, key=lambda one: one[1].st_mtime)
    since = datetime.fromtimestamp(found.st_mtime, UTC)
    detail = f"{len(waiting):,} files wait, the oldest since {shown_minute(since)}: {oldest.relative_to(home.inbox)}."
    state = CheckState.BLOCKS if since < period.end + Settings.load().close_grace else CheckState.ATTENTION
    return item("inbox", "Inbox", state, detail, "Land them: billhouse land FILE..., or the job land_and_build")


class _LandedFiles:
    """Finds out whether a file of the inbox has landed, by its content; reads only files with a landed name and size."""

    def __init__(self, home: Home) -> None:
        self._home = home
        rows = landed_file_rows(home).select(["file_id", "file_name", "file_bytes", "kind", "source_name"]).to_pylist()
        self._ids = {row["file_id"] for row in rows}
        self._readings: dict[tuple[str, int], set[tuple[str, str | None]]] = defaultdict(set)
        for row in rows:
            name_and_size = (Path(row["file_name"]).name, row["file_bytes"])
            self._readings[name_and_size].add((row["kind"], row["source_name"]))

    def has(self, path: Path, found: os.stat_result) -> bool:
        """Whether its content has landed, as it would be read now. Raises FileNotFoundError if it is no longer there."""
        readings = self._readings.get((path.name, found.st_size), set())
        return any(self._id_of(path, kind, source_name) in self._ids for kind, source_name in readings)

    def _id_of(self, path: Path, kind: str, source_name: str | None) -> str | None:
        """The file's id; None if it cannot be read, or the source is gone."""
        try:
            source = find_source(self._home, source_name) if source_name is not None else None
            reading = Reading.of(source)
            return examine(path, source.kind if source is not None else Kind(kind), reading.shown).file_id
        except InputFileError:
            path.lstat()
            return None
        except BillhouseError:
            return None


def feeds_item(home: Home, period: BillingPeriod) -> ChecklistItem:
    """A source that never ran, or whose position is from before the month's end, may lack the month's last usage."""
    title, positions = "Feeds", _positions(home)
    configured = {feed.name for feed in read_feeds(home)}
    never = sorted(configured - positions.keys())
    stopped = sorted(((at, name) for name, at in positions.items() if at < period.end))
    others = f" {len(positions.keys() - configured):,} of them are not in feeds.toml." if positions.keys() - configured else ""
    if not (never or stopped):
        detail = f"All {len(positions):,} have run since the month ended.{others}" if positions else "None is used."
        return item("feeds", title, CheckState.OK, detail)
    details = []
    if never:
        named = ", ".join(never[:10])
        details.append(f"{len(never):,} of {len(configured):,} configured have never run, or found no row: {named}.")
    if stopped:
        at, name = stopped[0]
        shown = name if name in configured else f"{name} (not in feeds.toml)"
        details.append(
            f"{len(stopped):,} of {len(positions):,} have not run since the month ended. {shown}: last at {shown_minute(at)}."
        )
    examples = [{"feed": name, "last_position_at": None, "is_configured": True} for name in never]
    examples += [{"feed": name, "last_position_at": at.isoformat(), "is_configured": name in configured} for at, name in stopped]
    next_step = "Run it: billhouse feeds run, or its collect command"
    return item("feeds", title, CheckState.ATTENTION, " ".join(details), next_step, *examples[:10])


def _positions(home: Home) -> dict[str, datetime]:
    """By feed, when its position was last stored."""
    found = {}
    for path in sorted(home.collecting.glob("*.json")):
        try:
            found[path.stem] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:  # a person has removed it meanwhile
            continue
    return found
