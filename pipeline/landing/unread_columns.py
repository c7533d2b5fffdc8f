"""Finds columns and keys of a file that no field reads, and the fields with similar names. Billing rules, section 3.

Keys inside `metadata` are arbitrary and not checked.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.landing.specification import Specification, Type

NAMES_SHOWN = 20
_MAX_NAMES = 10_000
"""Further names are ignored: a collector that uses ids as keys has millions."""
MAX_SHAPES = 10_000
"""Shapes that are remembered; others are processed again in each batch of rows."""
_MAX_NAME_LENGTH = 100
_MIN_SIMILARITY = 0.6
KEY_SEPARATOR = "\x1f"
GROUP_SEPARATOR = "\x1e"


class UnreadColumns:
    """Collects the names that no field reads, in one pass over a file's rows, which may come in any order."""

    shape_prefix = ""
    """SQL: what is put before the keys of a row that are passed to `note_keys`."""

    def __init__(self, specification: Specification, max_shapes: int = MAX_SHAPES) -> None:
        self._max_shapes = max_shapes
        self._specification = specification
        paths = [path for field in specification.fields for path in (field.name, *field.paths)]
        self._known = {*paths, *specification.groups}
        self._found: dict[str, tuple[int, int]] = {}
        """By name, the first row that has it, and its place there."""
        self._shapes: dict[bytes, tuple[int, bool]] = {}
        """By hash of a shape, the first row that has it, and whether a key occurs twice. A shape may be as long as a row."""
        self._lock = Lock()  # DuckDB calls from several threads

    def of_file(self, number: int) -> UnreadColumns:
        """Those of a file of a group; this is of one file alone."""
        assert not number
        return self

    def add(self, names: Iterable[str], row: int = 0) -> None:
        """Add the names of all columns, or of the keys of a row; a field of a struct as `resources.vcpu`."""
        for place, name in enumerate(names):
            if name not in self._known:
                shown = name[:_MAX_NAME_LENGTH] or "(without a name)"
                self._found[shown] = min((row, place), self._found.get(shown, (row, place)))
        if len(self._found) >= 2 * _MAX_NAMES:
            self._found = {name: self._found[name] for name in self.names}

    def note_keys(self, shapes: pa.Array | pa.ChunkedArray, rows: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Add the keys of JSON objects in some rows, and return for each object whether a key occurs twice.

        `shapes`: the keys of each object, then those of each group after the group's name. The rows of a file have few different
        shapes, and each is processed once.
        """
        return note_shapes(shapes, rows, self.process_shape)

    def process_shape(self, shape: str, row: int) -> bool:
        """Add the keys of one shape, and return whether a key occurs twice. `row`: one that has the shape."""
        key = hashlib.blake2b(shape.encode(), digest_size=16).digest()
        with self._lock:
            first, is_repeated = self._shapes.get(key, (None, False))
            if first is not None and first <= row:
                return is_repeated
            outer, *groups = shape.split(GROUP_SEPARATOR)
            names = outer.split(KEY_SEPARATOR) if outer else []
            for keys in groups:
                group, *inside = keys.split(KEY_SEPARATOR)
                names += [f"{group}.{name}" for name in inside]
            self.add(names, row)
            is_repeated = len(set(names)) < len(names)
            if first is not None or len(self._shapes) < self._max_shapes:
                self._shapes[key] = row, is_repeated
            return is_repeated

    @property
    def names(self) -> list[str]:
        """The unread names, in the order of the first rows that have them, and of their keys."""
        return sorted(self._found, key=lambda name: self._found[name])[:_MAX_NAMES]

    @property
    def suggestions(self) -> dict[str, str]:
        """By unread name, the field with the most similar name."""
        fields = [field.name for field in self._specification.fields]
        found = {name: _nearest(name, fields) for name in self.names[: NAMES_SHOWN * 5]}
        return {name: field for name, field in found.items() if field is not None}

    @property
    def misspelt_resources(self) -> list[str]:
        """Unread names that resemble resources or quantities, which are billed."""
        billed = {field.name for field in self._specification.fields if field.type in (Type.RESOURCE, Type.QUANTITY)}
        return [name for name, field in self.suggestions.items() if field in billed]


def note_shapes(
    shapes: pa.Array | pa.ChunkedArray, rows: pa.Array | pa.ChunkedArray, process: Callable[[str, int], bool]
) -> pa.Array:
    """For each row, the result of `process` for its shape; called once for each shape, with the first of the rows that has it."""
    encoded = _one_array(shapes).dictionary_encode()
    first_rows = np.full(len(encoded.dictionary), np.iinfo(np.int64).max)
    codes = encoded.indices.fill_null(len(first_rows)).to_numpy()
    is_object = codes < len(first_rows)
    np.minimum.at(first_rows, codes[is_object], _one_array(rows).to_numpy()[is_object])
    flags = [process(shape, row) for shape, row in zip(encoded.dictionary.to_pylist(), first_rows.tolist(), strict=True)]
    return pc.take(pa.array(flags, pa.bool_()), encoded.indices)


def _one_array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def shown_names(names: list[str]) -> str | None:
    """The names as one text of limited length: `vcpu, memory and 3 more`; None if there are none."""
    if not names:
        return None
    more = len(names) - NAMES_SHOWN
    count = f"over {more:,}" if len(names) >= _MAX_NAMES else f"{more:,}"
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {count} more" if more > 0 else "")


def _nearest(name: str, fields: list[str]) -> str | None:
    """The field with the most similar name: `vcpu` -> vcpu_count, `memoryGb` -> memory_gb, `user` -> user_id."""
    normalized = _normalized(name.rpartition(".")[2])
    by_normalized = {_normalized(field): field for field in fields}
    if normalized in by_normalized:
        return by_normalized[normalized]
    if len(normalized) >= 3:
        for candidate, field in by_normalized.items():
            if candidate.startswith(normalized) or (len(normalized) >= 4 and normalized in candidate):
                return field
    nearest = difflib.get_close_matches(normalized, by_normalized, n=1, cutoff=_MIN_SIMILARITY)
    return by_normalized[nearest[0]] if nearest else None


def _normalized(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
