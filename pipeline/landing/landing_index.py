"""The landing index: in which raw files a key, a sandbox or a file id has landed, at a cost that does not grow with their number.

It holds hashes. What it finds is therefore compared with the rows of the raw files, of which only those that it names are read; a
key that it does not find has not landed. Parts of about the same size are merged, so that there are few. It follows the manifest:
a command that was killed after it wrote raw files leaves them to the next one to index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np

from pipeline.core.files import make_folders
from pipeline.core.home import Home
from pipeline.landing.index_state import IndexState, all_raw_files, read_state, remove_state
from pipeline.landing.index_updates import SANDBOXES, NewEntries, entries_of
from pipeline.landing.landing_totals import LandingTotals
from pipeline.store.key_index_part import DamagedIndexError, Entries, Hashes, Part, PartInfo, write_part
from pipeline.store.manifest_tail import ManifestPosition, lines_after, manifest_bytes

_MERGED_PARTS = 8
"""Parts of about the same size that are merged into one."""
_MAX_MERGED_ROWS = 1 << 22
"""Larger parts are not merged, so that no landing waits long for it."""
_Found = TypeVar("_Found")


class LandingIndex:
    """The index of a home, up to date with its raw files. Its user holds the home's write lock."""

    def __init__(self, home: Home) -> None:
        """Open the index, and add the raw files that were written since it was used; build it if it is missing or damaged."""
        self._home = home
        self._connection = duckdb.connect()  # opening one takes longer than adding a file
        self._open: dict[str, Part] = {}
        self._state = IndexState()
        self.update()

    def update(self) -> None:
        """Add the raw files that were written since the last update. Call it before each landing."""
        if self._state.position.offset and manifest_bytes(self._home) == self._state.position.offset:
            return
        found = read_state(self._home)
        if found is None:
            self._rebuild()
            return
        self._state = found.state
        if found.position != found.state.position:
            try:
                self._add(found.new_files)
            except DamagedIndexError:
                self._rebuild()
                return
            self._save(found.position)

    @property
    def landed_rows(self) -> int:
        """Rows of landed_files: the sequence of the last landed file."""
        return self._state.totals.rows

    def has(self, index: str) -> bool:
        """Whether anything is in an index."""
        return bool(self._state.parts.get(index))

    def rows_of_landed_file(self, file_id: str) -> list[Path]:
        """The raw files of landed_files that may have the row of a landed file."""
        ((hashed,),) = self._connection.execute("select hash($1)", [file_id]).fetchall()
        return self.files_with("landed_files", np.array([hashed], np.uint64))

    def files_with(self, index: str, hashes: Hashes, within: tuple[str, str] | None = None) -> list[Path]:
        """The raw files that may have a key with one of some hashes (sorted, unique), in order of landing.

        `within`: bounds of the first column of the keys, to read fewer parts.
        """

        def find() -> list[Path]:
            names: list[bytes] = []
            for part in self._overlapping(index, within) if len(hashes) else ():
                _, places = part.find(hashes)
                names += [part.name(place) for place in np.unique(places).tolist()]
            return self._existing(names)

        return self._reading(find)

    def with_other_users(self, sandboxes: Hashes, users: Hashes) -> Hashes:
        """Those of some sandboxes (hashes; sorted, unique) that may have landed with another user than the one given for each."""

        def find() -> Hashes:
            found = [part.find(sandboxes, users)[0] for part in self._overlapping(SANDBOXES, None)] if len(sandboxes) else []
            return np.unique(np.concatenate([sandboxes[:0], *found]))

        return self._reading(find)

    def files_in_range(self, index: str, least: str, greatest: str) -> list[Path]:
        """The raw files that may have keys whose first column is in a range."""

        def find() -> list[Path]:
            return self._existing(name for part in self._overlapping(index, (least, greatest)) for name in part.names())

        return self._reading(find)

    def _reading(self, find: Callable[[], _Found]) -> _Found:
        try:
            return find()
        except DamagedIndexError:
            self._rebuild()
            return find()

    def _overlapping(self, index: str, within: tuple[str, str] | None) -> list[Part]:
        return [
            self._part(info)
            for info in self._state.parts.get(index, ())
            if within is None or (info.least <= within[1] and info.greatest >= within[0])
        ]

    def _part(self, info: PartInfo) -> Part:
        part = self._open.get(info.file)
        if part is None or part.info != info:
            part = self._open[info.file] = Part(self._home.landing_index / info.file, info)
        return part

    def _existing(self, names: Iterable[bytes]) -> list[Path]:
        """Each file once; without those that were removed from the home: no reader finds rows of them."""
        paths = (self._home.raw / name.decode() for name in dict.fromkeys(names))
        return [path for path in paths if path.exists()]

    def _rebuild(self) -> None:
        """Build the index from all raw files."""
        self._open.clear()
        remove_state(self._home)  # its parts are about to be overwritten
        self._state = IndexState()
        everything = lines_after(self._home, ManifestPosition())
        self._add(all_raw_files(self._home))
        # Without a readable manifest there is no position to go on from: the next landing builds it again.
        self._save(everything[1] if everything is not None else ManifestPosition())

    def _add(self, files: dict[str, list[str]]) -> None:
        make_folders(self._home.landing_index)
        for collection, names in files.items():
            for new in entries_of(self._connection, self._home, collection, names):
                self._append(new)
        landed = [self._home.raw / name for name in files.get("landed_files", ())]
        totals = self._state.totals
        # A merged file has rows that are counted already.
        self._state.totals = totals.plus(LandingTotals.of(self._connection, landed, after=totals.rows))

    def _append(self, new: NewEntries) -> None:
        parts = self._state.parts.setdefault(new.index, [])
        parts.append(self._write(new.entries, new.least, new.greatest))
        while merged := _parts_to_merge(parts):
            entries = self._of_existing(_merged([self._part(part).entries() for part in merged]))
            least, greatest = min(part.least for part in merged), max(part.greatest for part in merged)
            one = [self._write(entries, least, greatest)] if len(entries.hashes) else []
            for part in merged:
                self._open.pop(part.file, None)
            place = parts.index(merged[0])
            parts[place:] = [*one, *(part for part in parts[place:] if part not in merged)]

    def _of_existing(self, entries: Entries) -> Entries:
        """Without the entries of files that were removed: a file that replaced them has entries of its own."""
        exists = np.array([(self._home.raw / name.decode()).exists() for name in entries.names])
        if exists.all():
            return entries
        is_left = exists[entries.places]
        owners = entries.owners[is_left] if entries.owners is not None else None
        return Entries(entries.hashes[is_left], entries.places[is_left], entries.names, owners)

    def _write(self, entries: Entries, least: str, greatest: str) -> PartInfo:
        name = f"{self._state.next_part:08d}.part"
        self._state.next_part += 1
        return write_part(self._home.landing_index / name, entries, least, greatest)

    def _save(self, position: ManifestPosition) -> None:
        self._state.position = position
        self._state.save(self._home)
        named = {part.file for parts in self._state.parts.values() for part in parts}
        for path in self._home.landing_index.glob("*.part"):
            if path.name not in named:
                self._open.pop(path.name, None)
                with suppress(FileNotFoundError):
                    path.unlink()


def update_if_possible(index: LandingIndex) -> None:
    """Update after the last landing of a command. What was landed is safe: the next landing adds it, if the disk is full now."""
    with suppress(OSError, duckdb.Error):
        index.update()


def _parts_to_merge(parts: Sequence[PartInfo]) -> list[PartInfo]:
    """The oldest parts of one size that are enough to be merged; none if there are none."""
    by_size: dict[int, list[PartInfo]] = {}
    for part in parts:
        of_size = by_size.setdefault(part.rows.bit_length() // 3, [])
        of_size.append(part)
        if len(of_size) == _MERGED_PARTS:
            if sum(each.rows for each in of_size) <= _MAX_MERGED_ROWS:
                return of_size
            del of_size[0]
    return []


def _merged(several: Sequence[Entries]) -> Entries:
    names = list(dict.fromkeys(name for entries in several for name in entries.names))
    places = {name: place for place, name in enumerate(names)}
    moved = [np.array([places[name] for name in entries.names], np.uint32)[entries.places] for entries in several]
    owners = [entries.owners for entries in several if entries.owners is not None]
    return Entries(
        np.concatenate([entries.hashes for entries in several]),
        np.concatenate(moved),
        names,
        np.concatenate(owners) if owners else None,
    )
