"""Checks that the files in raw/ and ledger/ are those that were written: none changed, removed or added."""

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
from pipeline.store.append import place_committed, unplaced_files, unremoved_files
from pipeline.store.collections import EMPTY_FILE
from pipeline.store.manifest import Manifest, WrittenFile, append_line, lock_manifest, new_line, read_manifest

RESTORE = "Restore it from a backup: files in raw/ and ledger/ are never edited."
_MISSING = "is missing."
_LOCKS = ("raw/stripe/.lock", "ledger/outbox/.lock")
_BATCH_FILES = 1000
"""Files that are queued for hashing at a time."""


@dataclass(frozen=True)
class StoreState:
    """The manifest and the existing files at one instant."""

    manifest: Manifest
    files: dict[str, Path]
    """By target (relative to the home), the path now: in .tmp/ if a killed command has committed and not renamed it. Without
    those that it has replaced and not removed."""


def read_store_state(home: Home) -> StoreState:
    """Read the manifest and list the files, while the manifest is locked against writers."""

    def read() -> StoreState:
        unremoved = unremoved_files(home)
        found = {path: home.path / path for path in _files_below(home) if path not in unremoved}
        return StoreState(read_manifest(home), unplaced_files(home) | found)

    try:
        with lock_manifest(home):
            return read()
    except OSError:  # a read-only home has no writers
        return read()


def integrity_problems(
    home: Home, state: StoreState, *, head: str | None = None, with_raw_content: bool = True
) -> Iterator[Problem]:
    """The differences between the manifest and the files.

    `head`: a head that was recorded earlier; the manifest must contain it. `with_raw_content=False` compares the files of raw/,
    which grow with history, by name and size only; those of ledger/ are always hashed.
    """
    manifest, found = state.manifest, state.files
    shown = _shown(home, home.manifest)
    for number, reason in manifest.broken_lines:
        yield Problem(shown, number, f"{reason}.", RESTORE)
    if head is not None and (problem := head_problem(home, manifest, head)) is not None:
        yield problem
    yield from _empty_files(home, [path for path in found if _is_empty_file(path)])
    yield from _differing(home, state, with_raw_content)
    unknown = _unknown_files(home, state)
    if unknown and not manifest.heads:
        reason = (
            f"is missing, but {len(unknown)} files exist: the home was made by an older version, or the manifest was removed."
        )
        yield Problem(shown, None, reason, "Restore it from a backup; for a home of an older version: billhouse verify --adopt")
    elif unknown:
        reason = "is not in the manifest: no command wrote it."
        next_step = "Move it out of raw/ and ledger/; or, if you know where it comes from: billhouse verify --adopt"
        yield from (Problem(path, None, reason, next_step) for path in unknown)
    for path in sorted(manifest.replaced & found.keys()):
        reason = "was replaced by a file with the same rows, and exists again: its rows are there twice."
        yield Problem(path, None, reason, "Remove it: billhouse compact")
    for path in sorted(manifest.journals - found.keys()):
        reason = "is missing: a publishing run was writing it. Stripe has a record of the run's requests."
        yield Problem(path, None, reason, "Restore it from a backup; if it is lost: billhouse verify --adopt")


def head_problem(home: Home, manifest: Manifest, head: str) -> Problem | None:
    """The problem if the manifest does not contain a head that was recorded earlier."""
    if head in manifest.heads:
        return None
    reason = f"does not contain the head {head}: it was forged, or rolled back to an earlier state."
    next_step = "Check the spelling of the head. If it is right, restore raw/ and ledger/ from a backup."
    return Problem(_shown(home, home.manifest), None, reason, next_step)


def adopt_files(home: Home) -> int:
    """Add files that are not in the manifest to it, as in a home of an older version. Returns their number.

    Call it only if a person knows where the files come from. Lost journals of publishing runs are marked as closed. Other files
    that were changed or are missing remain problems.
    """
    with lock_manifest(home):
        place_committed(home)
        state = StoreState(read_manifest(home), {path: home.path / path for path in _files_below(home)})
        unknown = _unknown_files(home, state)
        journals = [path for path in unknown if _is_journal(path)]
        files = {path: WrittenFile.of(home.path / path) for path in unknown if path not in journals}
        entry = {
            "command": "verify --adopt",
            "files": {path: [file.sha256, file.size] for path, file in files.items()},
            "opened": journals,
            "closed": sorted(state.manifest.journals - state.files.keys()),
        }
        if unknown or entry["closed"]:
            append_line(home, new_line(home, entry))
    return len(unknown)


def _unknown_files(home: Home, state: StoreState) -> list[str]:
    manifest = state.manifest
    known = manifest.files.keys() | manifest.replaced | manifest.journals | manifest.closed_journals
    known |= {_shown(home, home.manifest)}
    return [path for path in sorted(state.files.keys() - known) if not _is_empty_file(path)]


def _differing(home: Home, state: StoreState, with_raw_content: bool) -> Iterator[Problem]:
    manifest, found = state.manifest, state.files
    to_read, missing = [], []
    for path, written in sorted(manifest.files.items()):
        reason = _difference(found.get(path), written, is_hashed=False)
        if reason == _MISSING:
            missing.append(path)
        elif reason is not None:
            yield Problem(path, None, reason, RESTORE)
        elif with_raw_content or not path.startswith("raw/"):
            to_read.append(path)
    with ThreadPoolExecutor() as pool:
        for first in range(0, len(to_read), _BATCH_FILES):
            paths = to_read[first : first + _BATCH_FILES]
            differences = pool.map(lambda path: _difference(found[path], manifest.files[path], is_hashed=True), paths)
            for path, reason in zip(paths, differences, strict=True):
                if reason == _MISSING:
                    missing.append(path)
                elif reason is not None:
                    yield Problem(path, None, reason, RESTORE)
    # A command may have renamed or replaced them since the state was read.
    now = read_store_state(home) if missing else state
    for path in missing:
        reason = _difference(now.files.get(path), manifest.files[path], is_hashed=True)
        if reason is not None and path not in now.manifest.replaced:
            yield Problem(path, None, reason, RESTORE)


def _difference(path: Path | None, written: WrittenFile, *, is_hashed: bool) -> str | None:
    if path is None:
        return _MISSING
    try:
        is_same = WrittenFile.of(path) == written if is_hashed else path.stat().st_size == written.size
    except FileNotFoundError:
        return _MISSING
    except OSError as error:
        return f"cannot be read: {error.strerror}."
    return None if is_same else "was changed after it was written."


def _empty_files(home: Home, paths: list[str]) -> Iterator[Problem]:
    """Problems of the zero-row files. They only define columns, are recreated if missing, and are not in the manifest."""
    for path in paths:
        try:
            rows = pq.read_metadata(home.path / path).num_rows
        except (OSError, pa.ArrowException):
            yield Problem(path, None, "is not a Parquet file.", "Remove it: the next command recreates it.")
            continue
        if rows:
            yield Problem(path, None, f"must have no rows, and has {rows}.", "Remove it: the next command recreates it.")


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
