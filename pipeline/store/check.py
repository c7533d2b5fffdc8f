"""Whether the files in raw/ and ledger/ are those that were written: none changed, none gone, none added."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import Problem
from pipeline.core.home import Home
from pipeline.store.append import place_committed, unplaced_files
from pipeline.store.collections import EMPTY_FILE
from pipeline.store.manifest import Manifest, WrittenFile, append_line, holding_manifest, new_line, read_manifest

RESTORE = "Restore it from a back-up; what was written is never edited."
_LOCKS = ("raw/stripe/.lock", "ledger/outbox/.lock")
_AT_ONCE = 1000
"""Files whose hashing waits in memory."""


@dataclass(frozen=True)
class Picture:
    """The manifest and the files, as they were at one instant."""

    manifest: Manifest
    files: dict[str, Path]
    """By the path where they belong: where they are. What a killed command has written and not placed is in .tmp/."""


def take_picture(home: Home) -> Picture:
    """What the manifest says, and what files there are, while nobody adds any."""

    def look() -> Picture:
        found = {path: home.path / path for path in _files_below(home)}
        return Picture(read_manifest(home), unplaced_files(home) | found)

    try:
        with holding_manifest(home):
            return look()
    except OSError:  # a home that may only be read: nobody writes there
        return look()


def changed_files(home: Home, picture: Picture, *, head: str | None = None, with_raw_content: bool = True) -> Iterator[Problem]:
    """What differs between the manifest and the files. Reads only.

    `head`: one that was written down; all that was written up to it must be as it was. `with_raw_content=False` compares the
    files of raw/, whose size grows with history, by their names and sizes alone; the ledger's are always read whole.
    """
    manifest, found = picture.manifest, picture.files
    shown = _shown(home, home.manifest)
    for number, reason in manifest.broken_lines:
        yield Problem(shown, number, f"{reason}.", RESTORE)
    if head is not None and head not in manifest.heads:
        reason = f"does not have the head {head}: it was forged, or put back to an earlier state."
        next_step = "See that the head is spelt as it was given out; if it is, restore raw/ and ledger/ from a back-up."
        yield Problem(shown, None, reason, next_step)
    yield from _empty_files(home, [path for path in found if _is_empty_file(path)])
    yield from _differing(manifest, found, with_raw_content)
    unknown = _unknown_files(home, picture)
    if unknown and not manifest.heads:
        reason = f"is not there, and {len(unknown)} files are: this home is older than manifests are, or it was taken away."
        yield Problem(shown, None, reason, "Restore it from a back-up; or, for an older home: billhouse verify --adopt")
    elif unknown:
        reason = "is in no line of the manifest: no command wrote it."
        next_step = "Move it out of raw/ and ledger/; or, where you know where it comes from: billhouse verify --adopt"
        yield from (Problem(path, None, reason, next_step) for path in unknown)
    for path in sorted(manifest.journals - found.keys()):
        reason = "is gone: a run of publishing was writing it. Stripe knows what it did."
        yield Problem(path, None, reason, "Restore it from a back-up; or, where it is lost for good: billhouse verify --adopt")


def adopt_files(home: Home) -> int:
    """Enter files into the manifest that no command wrote: of a home from before there was one. Returns how many.

    For a person who knows where they come from. A journal of publishing that is lost is given up; other files that were changed
    or are gone stay a problem.
    """
    with holding_manifest(home):
        place_committed(home)
        picture = Picture(read_manifest(home), {path: home.path / path for path in _files_below(home)})
        unknown = _unknown_files(home, picture)
        journals = [path for path in unknown if _is_journal(path)]
        files = {path: WrittenFile.of(home.path / path) for path in unknown if path not in journals}
        said = {
            "command": "verify --adopt",
            "files": {path: [file.sha256, file.size] for path, file in files.items()},
            "opened": journals,
            "closed": sorted(picture.manifest.journals - picture.files.keys()),
        }
        if unknown or said["closed"]:
            append_line(home, new_line(home, said))
    return len(unknown)


def _unknown_files(home: Home, picture: Picture) -> list[str]:
    manifest = picture.manifest
    known = manifest.files.keys() | manifest.journals | manifest.closed_journals | {_shown(home, home.manifest)}
    return [path for path in sorted(picture.files.keys() - known) if not _is_empty_file(path)]


def _differing(manifest: Manifest, found: dict[str, Path], with_raw_content: bool) -> Iterator[Problem]:
    to_read = []
    for path, written in sorted(manifest.files.items()):
        reason = _fault(found.get(path), written, is_read=False)
        if reason is not None:
            yield Problem(path, None, reason, RESTORE)
        elif with_raw_content or not path.startswith("raw/"):
            to_read.append(path)
    with ThreadPoolExecutor() as pool:
        for first in range(0, len(to_read), _AT_ONCE):
            paths = to_read[first : first + _AT_ONCE]
            faults = pool.map(lambda path: _fault(found[path], manifest.files[path], is_read=True), paths)
            for path, reason in zip(paths, faults, strict=True):
                if reason is not None:
                    yield Problem(path, None, reason, RESTORE)


def _fault(path: Path | None, written: WrittenFile, *, is_read: bool) -> str | None:
    if path is None:
        return "was written, and is gone."
    try:
        is_same = WrittenFile.of(path) == written if is_read else path.stat().st_size == written.size
    except FileNotFoundError:
        return "was written, and is gone."
    except OSError as error:
        return f"cannot be read: {error.strerror}."
    return None if is_same else "was changed since it was written."


def _empty_files(home: Home, paths: list[str]) -> Iterator[Problem]:
    """The zero-row files tell columns, and are made anew where they are missing: in the manifest they are not."""
    for path in paths:
        try:
            rows = pq.read_metadata(home.path / path).num_rows
        except (OSError, pa.ArrowException):
            yield Problem(path, None, "is no file of columns.", "Remove it; the next command makes it anew.")
            continue
        if rows:
            yield Problem(path, None, f"holds {rows} rows, and tells columns only.", "Remove it; the next command makes it anew.")


def _files_below(home: Home) -> Iterator[str]:
    for top in (home.raw, home.ledger):
        for folder, folders, names in os.walk(top):
            for name in (*names, *(each for each in folders if (Path(folder) / each).is_symlink())):
                path = _shown(home, Path(folder) / name)
                if path not in _LOCKS or (Path(folder) / name).lstat().st_size:
                    yield path


def _is_empty_file(path: str) -> bool:
    return path.endswith(f"/{EMPTY_FILE}") or path.startswith("ledger/closes/_schema/")


def _is_journal(path: str) -> bool:
    return path.startswith("ledger/outbox/") and path.endswith(".jsonl")


def _shown(home: Home, path: Path) -> str:
    return path.relative_to(home.path).as_posix()
