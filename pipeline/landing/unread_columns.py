"""Finds columns and keys of a file that no field reads, and the fields with similar names. Billing rules, section 3.

Keys inside `metadata` are arbitrary and not checked.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.landing.specification import Specification, Type

NAMES_SHOWN = 20
_MAX_NAMES = 10_000
"""Further names are ignored: a collector that uses ids as keys has millions."""
_MAX_NAME_LENGTH = 100
_MIN_SIMILARITY = 0.6
KEY_SEPARATOR = "\x1f"
GROUP_SEPARATOR = "\x1e"


class UnreadColumns:
    """Collects the names that no field reads, in one pass over a file's rows."""

    def __init__(self, specification: Specification) -> None:
        self._specification = specification
        paths = [path for field in specification.fields for path in (field.name, *field.paths)]
        self._known = {*paths, *specification.groups}
        self._found: dict[str, None] = {}
        self._has_repeated_key: dict[str, bool] = {}

    def add(self, names: Iterable[str]) -> None:
        """Add the names of columns; a field of a struct as `resources.vcpu`."""
        for name in names:
            if name not in self._known and len(self._found) < _MAX_NAMES:
                self._found[name[:_MAX_NAME_LENGTH] or "(without a name)"] = None

    def note_keys(self, shapes: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Add the keys of JSON objects, and return for each object whether a key occurs twice.

        `shapes`: the keys of each object, then those of each group after the group's name. The rows of a file have few different
        shapes, and each is processed once.
        """
        whole = shapes.combine_chunks() if isinstance(shapes, pa.ChunkedArray) else shapes
        encoded = whole.dictionary_encode()
        flags = [shape is not None and self.process_shape(shape) for shape in encoded.dictionary.to_pylist()]
        return pc.take(pa.array(flags, pa.bool_()), encoded.indices)

    def process_shape(self, shape: str) -> bool:
        """Add the keys of one shape, and return whether a key occurs twice."""
        known = self._has_repeated_key.get(shape)
        if known is not None:
            return known
        outer, *groups = shape.split(GROUP_SEPARATOR)
        names = outer.split(KEY_SEPARATOR) if outer else []
        for keys in groups:
            group, *inside = keys.split(KEY_SEPARATOR)
            names += [f"{group}.{name}" for name in inside]
        self.add(names)
        is_repeated = len(set(names)) < len(names)
        if len(self._has_repeated_key) < _MAX_NAMES:
            self._has_repeated_key[shape] = is_repeated
        return is_repeated

    @property
    def names(self) -> list[str]:
        """The unread names, in the order in which they were found."""
        return list(self._found)

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
