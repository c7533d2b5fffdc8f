"""Whether the files in raw/ and ledger/ are those that were written: none changed, none gone, none added."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import Problem
from pipeline.home import Home
from pipeline.store.append import append_existing, unplaced_files
from pipeline.store.collections import EMPTY_FILE
from pipeline.store.manifest import Manifest, WrittenFile, read_manifest

RESTORE = "Restore it from a back-up; what was written is never edited."
_LOCK = re.compile(r"(^|/)\.([a-z]+\.)?lock$")


def changed_files(home: Home, manifest: Manifest, *, head: str | None = None, with_raw_content: bool = True) -> Iterator[Problem]:
    """What differs between the manifest and the files. Reads only.

    `head`: one that was written down; all that was written up to it must be as it was. `with_raw_content=False` compares the
    files of raw/, whose size grows with history, by their names and sizes alone; the ledger's are always read whole.
    """
    shown = _shown(home, home.manifest)
    for number, reason in manifest.broken_lines:
        yield Problem(shown, number, f"{reason}.", RESTORE)
    if head is not None and head not in manifest.heads:
        reason = f"does not have the head {head}: it was forged, or put back to an earlier state."
        next_step = "See that the head is spelt as it was given out; if it is, restore raw/ and ledger/ from a back-up."
        yield Problem(shown, None, reason, next_step)
    unplaced = unplaced_files(home)
    found = {path: home.path / path for path in _files_below(home)}
    yield from _empty_files(home, [path for path in found if _is_empty_file(path)])
    yield from _differing(manifest, found | unplaced, with_raw_content)
    known = manifest.files.keys() | manifest.journals | {shown}
    unknown = [
        path for path in sorted(found.keys() - known) if not _is_empty_file(path) and not _is_closed_journal(path, manifest)
    ]
    if unknown and not manifest.heads:
        reason = f"is not there, and {len(unknown)} files are: this home is older than manifests are, or it was taken away."
        yield Problem(shown, None, reason, "Restore it from a back-up; or, for an older home: billhouse verify --adopt")
    for path in unknown if manifest.heads else ():
        reason = "is in no line of the manifest: no command wrote it."
        next_step = "Move it out of raw/ and ledger/; or, where you know where it comes from: billhouse verify --adopt"
        yield Problem(path, None, reason, next_step)
    for path in sorted(manifest.journals - found.keys() - unplaced.keys()):
        yield Problem(path, None, "is gone: a run of publishing was writing it.", RESTORE)


def adopt_files(home: Home) -> int:
    """Enter files into the manifest that no command wrote: of a home from before there was one. Returns how many.

    For a person who knows where they come from. Files that were changed or are gone stay a problem.
    """
    manifest = read_manifest(home)
    unknown = [
        path
        for path in _files_below(home)
        if path not in manifest.files.keys() | manifest.journals | {_shown(home, home.manifest)} and not _is_empty_file(path)
    ]
    if unknown:
        append_existing(home, unknown, "verify --adopt")
    return len(unknown)


def _differing(manifest: Manifest, found: dict[str, Path], with_raw_content: bool) -> Iterator[Problem]:
    chosen = sorted(manifest.files)

    def fault(path: str) -> str | None:
        written = manifest.files[path]
        try:
            if found[path].stat().st_size != written.size:
                return "was changed since it was written."
            if (with_raw_content or not path.startswith("raw/")) and WrittenFile.of(found[path]) != written:
                return "was changed since it was written."
        except (KeyError, FileNotFoundError):
            return "was written, and is gone."
        except OSError as error:
            return f"cannot be read: {error.strerror}."
        return None

    with ThreadPoolExecutor() as pool:
        for path, reason in zip(chosen, pool.map(fault, chosen), strict=True):
            if reason is not None:
                yield Problem(path, None, reason, RESTORE)


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
                if not _LOCK.search(path):
                    yield path


def _is_empty_file(path: str) -> bool:
    return path.endswith(f"/{EMPTY_FILE}") or path.startswith("ledger/closes/_schema/")


def _is_closed_journal(path: str, manifest: Manifest) -> bool:
    """Whether its content is in the outbox, and a kill came before it was removed: nobody reads it any more."""
    return path.endswith(".jsonl") and path in manifest.closed_journals


def _shown(home: Home, path: Path) -> str:
    return path.relative_to(home.path).as_posix()
