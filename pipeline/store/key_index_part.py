"""A part of an index: a sorted array of key hashes, and the raw file that each key is in.

A part is written once and never changed. It is derived from raw files, so it is not synced: a part that is damaged, for example
by a power cut, is found by its sums when it is read, and the index is built again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.uint32]
_BLOCK = 128
"""Entries that are read and checked at a time."""
_LAST = np.uint64(2**64 - 1)
_WEIGHTS = np.random.default_rng(1).integers(1, 2**63, (3, _BLOCK), dtype=np.uint64) | np.uint64(1)
"""Odd factors for the sums of blocks, so that a changed or exchanged entry changes the sum."""


class DamagedIndexError(Exception):
    """A part does not have the content that was written."""


@dataclass(frozen=True)
class PartInfo:
    """What the state of an index records of a part."""

    file: str
    """Its name in the folder of the index."""
    rows: int
    """Entries."""
    files: int
    """Raw files that its keys are in."""
    name_bytes: int
    """Bytes of the name of each raw file, padded."""
    has_owners: bool
    least: str
    """No key of the part is less; nor greater than `greatest`."""
    greatest: str
    check: int
    """CRC-32 of the first hashes of the blocks, and of the sums."""

    @classmethod
    def parse(cls, values: dict[str, Any]) -> PartInfo:
        """From `as_dict`. Raises TypeError or ValueError if something is missing or has another type."""
        found = cls(**values)
        for field in fields(cls):
            if type(getattr(found, field.name)).__name__ != field.type:
                raise ValueError(field.name)
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Entries:
    """Keys by hash, and the raw file of each."""

    hashes: Hashes
    places: Places
    """The place of the key's file in `names`."""
    names: Sequence[bytes]
    """Raw files, relative to raw/."""
    owners: Hashes | None = None
    """For sandboxes: the hash of the user."""


def write_part(path: Path, entries: Entries, least: str, greatest: str) -> PartInfo:
    """Write a part, sorted by hash."""
    order = np.argsort(entries.hashes, kind="stable")
    padding = -len(order) % _BLOCK
    hashes = np.pad(entries.hashes[order], (0, padding), constant_values=_LAST)
    owners = np.pad(entries.owners[order], (0, padding)) if entries.owners is not None else None
    places = np.pad(entries.places[order], (0, padding))
    fences, sums = np.ascontiguousarray(hashes[::_BLOCK]), _sums(hashes, owners, places)
    names = np.array([b"%08x %s" % (zlib.crc32(name), name) for name in entries.names])
    path.touch(0o600)  # it holds hashes of ids: readable by its owner alone
    with path.open("wb") as file:
        for array in (fences, sums, hashes, owners, places, names):
            if array is not None:
                file.write(array.tobytes())
    check = zlib.crc32(fences.tobytes() + sums.tobytes())
    return PartInfo(path.name, len(order), len(names), names.dtype.itemsize, entries.owners is not None, least, greatest, check)


class Part:
    """A part that is open for reading."""

    def __init__(self, path: Path, info: PartInfo) -> None:
        """Raises DamagedIndexError if the file is missing, or not the one that was written."""
        self.info = info
        blocks = -(-info.rows // _BLOCK)
        padded = blocks * _BLOCK
        lengths = [8 * blocks, 8 * blocks, 8 * padded, 8 * padded * info.has_owners, 4 * padded, info.files * info.name_bytes]
        try:
            with path.open("rb") as file:
                if not info.rows or os.fstat(file.fileno()).st_size != sum(lengths):
                    raise DamagedIndexError(path.name)
                content = np.memmap(file, np.uint8, "r")
        except OSError as error:
            raise DamagedIndexError(path.name) from error
        fences, sums, hashes, owners, places, names = np.split(content, np.cumsum(lengths)[:-1])
        if zlib.crc32(sums, zlib.crc32(fences)) != info.check:
            raise DamagedIndexError(path.name)
        self._fences, self._sums = fences.view(np.uint64), sums.view(np.uint64)
        self._hashes = hashes.view(np.uint64).reshape(-1, _BLOCK)
        self._owners = owners.view(np.uint64).reshape(-1, _BLOCK) if info.has_owners else None
        self._places = places.view(np.uint32).reshape(-1, _BLOCK)
        self._names = names.view(f"S{info.name_bytes}")

    def find(self, hashes: Hashes, owners: Hashes | None = None) -> tuple[Hashes, Places]:
        """The entries with one of some hashes (sorted, unique): the hash of each, and the place of its file.

        With `owners`, one per hash: only entries with another owner. Raises DamagedIndexError.
        """
        first = np.maximum(np.searchsorted(self._fences, hashes, "left"), 1) - 1
        last = np.maximum(np.searchsorted(self._fences, hashes, "right"), 1) - 1
        blocks = np.unique(np.concatenate([first, last]))
        if (last - first > 1).any():  # equal hashes in several blocks
            blocks = np.unique(np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)]))
        found, owned, places = self._read(blocks)
        at = np.searchsorted(hashes, found)
        at[at == len(hashes)] = 0
        is_found = hashes[at] == found
        if blocks[-1] == len(self._fences) - 1:
            is_found[len(is_found) - (-self.info.rows % _BLOCK) :] = False  # the padding
        if owners is not None and owned is not None:
            is_found &= owned != owners[at]
        return found[is_found], places[is_found]

    def entries(self) -> Entries:
        """All entries. Raises DamagedIndexError."""
        hashes, owners, places = self._read(np.arange(len(self._fences)))
        rows = self.info.rows
        return Entries(hashes[:rows], places[:rows], self.names(), owners[:rows] if owners is not None else None)

    def names(self) -> list[bytes]:
        """Its raw files, by their places. Raises DamagedIndexError."""
        return [self.name(place) for place in range(self.info.files)]

    def name(self, place: int) -> bytes:
        """A raw file by its place. Raises DamagedIndexError."""
        check, _, name = bytes(self._names[place]).partition(b" ")
        if check != b"%08x" % zlib.crc32(name):
            raise DamagedIndexError(self.info.file)
        return name

    def _read(self, blocks: npt.NDArray[np.intp]) -> tuple[Hashes, Hashes | None, Places]:
        hashes, places = self._hashes[blocks], self._places[blocks]
        owners = self._owners[blocks] if self._owners is not None else None
        if (_sums(hashes, owners, places) != self._sums[blocks]).any():
            raise DamagedIndexError(self.info.file)
        if places.size and places.max() >= self.info.files:
            raise DamagedIndexError(self.info.file)
        return hashes.ravel(), owners.ravel() if owners is not None else None, places.ravel()


def _sums(hashes: Hashes, owners: Hashes | None, places: Places) -> Hashes:
    """A sum over each block, modulo 2^64."""
    found: Hashes = (hashes.reshape(-1, _BLOCK) * _WEIGHTS[0]).sum(axis=1, dtype=np.uint64)
    found += (places.reshape(-1, _BLOCK) * _WEIGHTS[1]).sum(axis=1, dtype=np.uint64)
    if owners is not None:
        found += (owners.reshape(-1, _BLOCK) * _WEIGHTS[2]).sum(axis=1, dtype=np.uint64)
    return found
