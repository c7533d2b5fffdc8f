"""Merges small raw files: those of a day of usage, and those of landed_files. So a build does not read a file for each landing.

The merged file has the rows of the others. Those of usage have their landed file and line, and are in the order of a raw file;
the footer has the number of rows of each landed file (key: the file id), so that a reader knows which files are in it without
reading rows. One line of the manifest lists the merged file, and the files that it replaces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from pipeline.core.errors import BillhouseError, Problem
from pipeline.core.home import Home
from pipeline.core.progress import OnProgress
from pipeline.core.settings import Settings
from pipeline.core.sql import parquet_list, quoted
from pipeline.landing.row_checks import scratch_database
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.collections import EMPTY_FILE
from pipeline.store.integrity import RESTORE
from pipeline.store.manifest import WrittenFile, entries_from_end, read_manifest
from pipeline.store.raw import MERGED, SCHEMAS, landed_file_ids, merged_file_name

_ORDER = {"usage_events": "sandbox_id, event_at, file_id, file_row, event_id", "landed_files": "landed_sequence"}
"""Of the rows in a merged file, by collection."""
_SMALL_BYTES = 16 * 2**20
"""Files of this size or more stay as they are: merging them saves a build little time."""
_ENOUGH_BYTES = 128 * 2**20
"""A merged file gets no more files once those that it has are of this size together."""


@dataclass
class MergedFiles:
    """What was merged."""

    days: int = 0
    """Days of usage."""
    files: int = 0
    """Files that were replaced."""
    merged_files: int = 0
    """Files that replaced them."""
    problems: list[Problem] = field(default_factory=list)
    """Files that were changed after they were written: they are not merged."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "days": self.days,
            "files": self.files,
            "merged_files": self.merged_files,
            "problems": [vars(problem) for problem in self.problems],
        }


def merge_raw_files(home: Home, *, on_progress: OnProgress | None = None) -> MergedFiles:
    """Merge the small files of each day of usage, and of landed_files, that has more of them than BILLHOUSE_RAW_FILES_PER_DAY.

    Safe to interrupt at any instant: the files of a folder are replaced together or not at all.
    """
    limit = Settings.load().raw_files_per_day
    result = MergedFiles()
    folders = [*sorted((home.raw / "usage_events").glob("event_date=*")), home.raw / "landed_files"]
    folders = [folder for folder in folders if len(_small_files(folder, limit)) > limit]
    for done, folder in enumerate(folders):
        if on_progress is not None:
            on_progress(folder.name.removeprefix("event_date="), done, len(folders))
        with home.writing():
            finish_interrupted(home)
            small = _unchanged(home, _small_files(folder, limit), result.problems)
            if len(small) > limit:
                groups = [group for group in _groups(small) if len(group) > 1]
                for group in groups:
                    _merge(home, folder, group)
                result.days += bool(groups) and folder.name != "landed_files"
                result.files += sum(len(group) for group in groups)
                result.merged_files += len(groups)
    return result


def merge_if_possible(home: Home) -> BillhouseError | None:
    """Merge after a landing. Returns the error if it fails: what was landed is safe, and the next landing merges."""
    try:
        merge_raw_files(home)
    except (OSError, duckdb.Error, BillhouseError) as error:
        return BillhouseError(f"Raw files were not merged: {error}", "Try again: billhouse compact")
    return None


def remove_replaced(home: Home) -> int:
    """Remove replaced files that exist again, as after a restore from a back-up that keeps removed files. Returns their number.

    Those of a day are removed only if every file of the day that the manifest lists is there, unchanged.
    """
    removed = 0
    with home.writing():
        finish_interrupted(home)
        manifest = read_manifest(home)
        found = [path for path in sorted(manifest.replaced) if (home.path / path).exists()]
        is_whole: dict[str, bool] = {}
        for path in found:
            day = f"{path.rpartition('/')[0]}/"
            if day not in is_whole:
                files = {home.path / name: written for name, written in manifest.files.items() if name.startswith(day)}
                is_whole[day] = all(file.exists() and WrittenFile.of(file) == written for file, written in files.items())
            if is_whole[day]:
                (home.path / path).unlink()
                removed += 1
    return removed


def _small_files(folder: Path, limit: int) -> list[Path]:
    """The small files of a folder; none if it has no more than `limit` files: then their sizes are not read."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        names = (entry.name for entry in entries if entry.name.endswith(".parquet") and entry.name != EMPTY_FILE)
        files = [folder / name for name in sorted(names)]
        if len(files) > limit:
            return [path for path in files if path.stat().st_size < _SMALL_BYTES]
    return []


def _unchanged(home: Home, files: Sequence[Path], problems: list[Problem]) -> list[Path]:
    """Those that have landed and are what was written; the others are left to `verify`. A merged file must not hide a change."""
    wanted = {path.relative_to(home.path).as_posix(): path for path in files}
    landed = set(landed_file_ids(home)) if wanted else set()
    unchanged = []
    for entry in entries_from_end(home) if wanted else ():
        written = entry.get("files", {})
        for name in [name for name in wanted if name in written]:
            path = wanted.pop(name)
            if WrittenFile.of(path) != WrittenFile(*written[name]):
                problems.append(Problem(name, None, "was changed after it was written.", RESTORE))
            elif path.name.startswith(MERGED) or path.stem.rpartition("-")[2] in landed:
                unchanged.append(path)
        if not wanted:
            break
    return sorted(unchanged)


def _groups(files: Sequence[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    size = 0
    for path in files:
        group.append(path)
        size += path.stat().st_size
        if size >= _ENOUGH_BYTES:
            yield group
            group, size = [], 0
    yield group


def _merge(home: Home, folder: Path, files: Sequence[Path]) -> None:
    collection = folder.relative_to(home.raw).parts[0]
    columns = ", ".join(SCHEMAS[collection].names)
    # The zero-row file has the columns that files of earlier versions lack.
    rows = parquet_list([*files, home.raw / collection / EMPTY_FILE])
    with scratch_database(home) as (connection, _), append_files(home, "compact") as written:
        target = written.file(folder / merged_file_name(path.name for path in files))
        connection.execute("set preserve_insertion_order = true")
        connection.execute(f"""
            copy (select {columns} from {rows} order by {_ORDER[collection]})
            to {quoted(target)} (format parquet, compression zstd, compression_level 1{_footer(connection, collection, rows)})""")
        sums = f"select count(*), sum(hash({columns}))"
        before = connection.execute(f"{sums} from {rows}").fetchall()
        assert connection.execute(f"{sums} from {parquet_list([target])}").fetchall() == before, "a merged file has the same rows"
        for path in files:
            written.replace(path)


def _footer(connection: duckdb.DuckDBPyConnection, collection: str, rows: str) -> str:
    """SQL: the option by which the footer gets the number of rows of each landed file; for usage alone."""
    if collection != "usage_events":
        return ""
    counts = connection.execute(f"select file_id, count(*) from {rows} group by 1 order by 1").fetchall()
    return ", kv_metadata {" + ", ".join(f"{quoted(file_id)}: '{count}'" for file_id, count in counts) + "}"
