"""Columns and keys of a file that no field reads: named, with the field that was probably meant. Billing rules, section 3.

What is inside `metadata` is free, and not looked at.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.landing.specification import Specification, Type

NAMES_SHOWN = 20
_NAMES_KEPT = 10_000
"""A collector that uses ids as keys names millions. After so many different names the others are not looked at."""
_LONGEST_NAME = 100
_LEAST_LIKE = 0.6
KEY_SEPARATOR = "\x1f"
GROUP_SEPARATOR = "\x1e"


class UnreadColumns:
    """Gathers the names that no field reads, in one pass over a file's rows."""

    def __init__(self, specification: Specification) -> None:
        self._specification = specification
        paths = [path for field in specification.fields for path in (field.name, *field.paths)]
        self._known = {*paths, *specification.groups}
        self._found: dict[str, None] = {}
        self._has_key_twice: dict[str, bool] = {}

    def add(self, names: Iterable[str]) -> None:
        """Columns of the file; one inside a struct as `resources.vcpu`."""
        for name in names:
            if name not in self._known and len(self._found) < _NAMES_KEPT:
                self._found[name[:_LONGEST_NAME] or "(without a name)"] = None

    def note_keys(self, shapes: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Whether a key comes twice, for each shape: a JSON object's keys, and the keys of each group after its name.

        The rows of a file have few shapes, and each is looked at once.
        """
        whole = shapes.combine_chunks() if isinstance(shapes, pa.ChunkedArray) else shapes
        encoded = whole.dictionary_encode()
        flags = [shape is not None and self._look_at(shape) for shape in encoded.dictionary.to_pylist()]
        return pc.take(pa.array(flags, pa.bool_()), encoded.indices)

    def _look_at(self, shape: str) -> bool:
        known = self._has_key_twice.get(shape)
        if known is not None:
            return known
        outer, *groups = shape.split(GROUP_SEPARATOR)
        names = outer.split(KEY_SEPARATOR) if outer else []
        for keys in groups:
            group, *inside = keys.split(KEY_SEPARATOR)
            names += [f"{group}.{name}" for name in inside]
        self.add(names)
        is_twice = len(set(names)) < len(names)
        if len(self._has_key_twice) < _NAMES_KEPT:
            self._has_key_twice[shape] = is_twice
        return is_twice

    @property
    def names(self) -> list[str]:
        """In order of their coming."""
        return list(self._found)

    @property
    def suggestions(self) -> dict[str, str]:
        """By unread name, the field that was probably meant."""
        fields = [field.name for field in self._specification.fields]
        found = {name: _nearest(name, fields) for name in self.names[: NAMES_SHOWN * 5]}
        return {name: field for name, field in found.items() if field is not None}

    @property
    def misspelt_resources(self) -> list[str]:
        """Unread names that were probably meant as resources or quantities."""
        billed = {field.name for field in self._specification.fields if field.type in (Type.RESOURCE, Type.QUANTITY)}
        return [name for name, field in self.suggestions.items() if field in billed]


def shown_names(names: list[str]) -> str | None:
    """The names as one text, not too long: `vcpu, memory and 3 more`; None for none."""
    if not names:
        return None
    more = len(names) - NAMES_SHOWN
    count = f"over {more:,}" if len(names) >= _NAMES_KEPT else f"{more:,}"
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {count} more" if more > 0 else "")


def _nearest(name: str, fields: list[str]) -> str | None:
    """The field that is written most like a name: `vcpu` is like vcpu_count, `memoryGb` like memory_gb, `user` like user_id."""
    plain = _plain(name.rpartition(".")[2])
    by_plain = {_plain(field): field for field in fields}
    if plain in by_plain:
        return by_plain[plain]
    if len(plain) >= 3:
        for candidate, field in by_plain.items():
            if candidate.startswith(plain) or (len(plain) >= 4 and plain in candidate):
                return field
    nearest = difflib.get_close_matches(plain, by_plain, n=1, cutoff=_LEAST_LIKE)
    return by_plain[nearest[0]] if nearest else None


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
