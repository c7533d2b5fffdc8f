"""The one way in which files come into raw/ and ledger/: some together, whole, for good.

They are written aside and synced. Then a line of the manifest has them all, and from that instant on they are there: a kill
before it leaves nothing, and after it the next command puts into their places what is not there yet. Nothing is ever replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import BillhouseError
from pipeline.core.files import are_on_one_disk, make_folders, sync_folder, sync_tree
from pipeline.core.home import Home
from pipeline.store.manifest import WrittenFile, append_line, holding_manifest, last_line, new_line, read_manifest
from pipeline.store.scratch_folders import COMMITTED, remove_leftovers, scratch_folder


class AlreadyWrittenError(BillhouseError):
    """A file is there already: nothing is ever replaced."""


@dataclass
class NewFiles:
    """Files that are being written, to come into their places together."""

    home: Home
    aside: Path
    places: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def file(self, target: Path) -> Path:
        """Where to write what is to be `target`. Files come into their places in the order in which they were asked for."""
        self.places.append(self._place(target))
        return self.aside / _name_aside(len(self.places), self.places[-1])

    def folder(self, target: Path) -> Path:
        """A folder to fill; it comes into its place at once, with all that it holds."""
        written = self.file(target)
        written.mkdir(mode=0o700)
        self.folders.append(self.places[-1])
        return written

    def journal(self, target: Path) -> Path:
        """As `file`, for one that is appended to afterwards, until `close_journal` has said that it is no more."""
        self.opened.append(self._place(target))
        return self.file(target)

    def close_journal(self, target: Path) -> None:
        """A journal's content is in other files now; it is to be removed, and nobody will miss it."""
        self.closed.append(self._place(target))

    def _place(self, target: Path) -> str:
        return target.relative_to(self.home.path).as_posix()


def _name_aside(number: int, place: str) -> str:
    return f"{number:06d}-{Path(place).name}"


@contextmanager
def append_files(home: Home, command: str) -> Iterator[NewFiles]:
    """Write files that come into their places together when this is left, and not at all where it fails.

    `command` says for the record what wrote them. Raises AlreadyWrittenError where one is there already.
    """
    with scratch_folder(home, "write") as aside:
        files = NewFiles(home, aside)
        yield files
        if files.places or files.closed:
            _commit(files, command)


def finish_interrupted(home: Home) -> None:
    """Put into their places what a killed command had written and not placed; remove what killed commands left in .tmp/.

    Called by every command that reads the ledger or raw/ to decide what to write there, once it holds its lock.
    """
    if any(home.scratch.glob(f"{COMMITTED}*")):
        with holding_manifest(home):
            place_committed(home)
    remove_leftovers(home)


def unplaced_files(home: Home) -> dict[str, Path]:
    """Files of a command that was killed, by the path where they belong: where they are now."""
    aside = _unplaced(home)
    if aside is None:
        return {}
    found = {}
    for number, place in enumerate(_places_of(json.loads(last_line(home))), 1):
        written = aside / _name_aside(number, place)
        for path in _files_at(written):
            found[(Path(place) / path.relative_to(written)).as_posix()] = path
    return found


def _commit(files: NewFiles, command: str) -> None:
    home = files.home
    written = {}
    for number, place in enumerate(files.places, 1):
        at = files.aside / _name_aside(number, place)
        for path in _files_at(at):
            path.chmod(path.stat().st_mode & 0o700)
            if place not in files.opened:
                written[(Path(place) / path.relative_to(at)).as_posix()] = path
    sync_tree(files.aside)
    with ThreadPoolExecutor() as pool:
        found = dict(zip(written, pool.map(WrittenFile.of, written.values()), strict=True))
    said = {
        "command": command,
        "files": {path: [file.sha256, file.size] for path, file in found.items()},
        "folders": files.folders,
        "opened": files.opened,
        "closed": files.closed,
    }
    assert _places_of(said) == files.places, "every file that was asked for is written, and journals come last"
    with holding_manifest(home):
        place_committed(home)
        _require_one_disk(home, files.places)
        _make_room(home, files.places, files.aside)
        line = new_line(home, said)
        aside = _aside_of(home, line)
        os.replace(files.aside, aside)
        sync_folder(home.scratch)
        try:
            append_line(home, line)
        except OSError:
            if last_line(home) != line:
                shutil.rmtree(aside, ignore_errors=True)
            raise
        _place_all(home, files.places, aside)


def _places_of(said: dict[str, Any]) -> list[str]:
    """The places of a line's files and folders, in their order."""
    folders = said.get("folders", [])
    inside = {path: folder for folder in folders for path in said.get("files", {}) if path.startswith(f"{folder}/")}
    paths = [*said.get("files", {}), *said.get("opened", [])]
    return list(dict.fromkeys(inside.get(path, path) for path in paths))


def _files_at(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(inside for inside in path.rglob("*") if inside.is_file())


def _aside_of(home: Home, line: bytes) -> Path:
    return home.scratch / f"{COMMITTED}{hashlib.sha256(line).hexdigest()[:32]}"


def _unplaced(home: Home) -> Path | None:
    """The folder of files that are in the manifest, and not yet all in their places: of its last line, if of any."""
    line = last_line(home)
    aside = _aside_of(home, line)
    return aside if line and aside.is_dir() else None


def place_committed(home: Home) -> None:
    """Finish what the last line began, and drop what never got a line. Hold the manifest meanwhile."""
    aside = _unplaced(home)
    if aside is not None:
        # The line may be in the system's memory alone: it must be on the disk before its files are in their places.
        sync_tree(home.manifest)
        sync_folder(home.ledger)
        _place_all(home, _places_of(json.loads(last_line(home))), aside)
    for never_committed in home.scratch.glob(f"{COMMITTED}*"):
        shutil.rmtree(never_committed, ignore_errors=True)


def _require_one_disk(home: Home, places: list[str]) -> None:
    """Before the line is written: files can be renamed into their places. Raises BillhouseError where they cannot."""
    for folder in {(home.path / place).parent for place in places}:
        make_folders(folder)
        if not are_on_one_disk(home.scratch, folder):
            raise BillhouseError(
                f"{folder} is on another disk than {home.scratch}, and files could not be renamed into it.",
                "Have raw/ and ledger/ on the disk of the home, and name a home on another disk with --home DIR.",
            )


def _make_room(home: Home, places: list[str], aside: Path) -> None:
    """What lies in a place and is in no line was never committed: it goes. Raises BillhouseError for what is in one."""
    taken = [place for place in places if (home.path / place).exists()]
    if not taken:
        return
    manifest = read_manifest(home)
    for number, place in enumerate(taken):
        if any(path == place or path.startswith(f"{place}/") for path in manifest.files):
            raise AlreadyWrittenError(
                f"{home.path / place} is there already, and what was written is never replaced.", "See billhouse verify."
            )
        os.replace(home.path / place, aside / f"never-committed-{number}")


def _place_all(home: Home, places: list[str], aside: Path) -> None:
    folders = dict.fromkeys((home.path / place).parent for place in places)
    for folder in folders:
        make_folders(folder)
    for number, place in enumerate(places, 1):
        written, target = aside / _name_aside(number, place), home.path / place
        if written.exists() and not target.exists():
            os.replace(written, target)
    for folder in folders:
        sync_folder(folder)
    shutil.rmtree(aside, ignore_errors=True)
