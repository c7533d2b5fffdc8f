"""Preserves JSON numbers that a 64-bit float cannot represent, such as 1e-400 and 2.00000000000000000000001.

DuckDB reads a JSON number with a point or an exponent as a float. Numbers that may lose digits, which are rare, are put in quotes
first: as text they are read exactly, like cells of CSV.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.landing.specification import Specification, Type

_READ_EXACTLY = (Type.RESOURCE, Type.QUANTITY, Type.AMOUNT, Type.INSTANT)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_NUMBER = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")
_LONG = 16
"""Characters (digits and point): a shorter number survives the conversion to a float, unless its exponent is extreme."""
MAY_LOSE_DIGITS = r"[:\s][-+]?(?:[0-9.]{18}|[0-9.]{16,}[eE])"
"""Matches a line with a number that may lose digits: 18 characters are 17 digits and a point."""
MAY_BE_TINY = r"[0-9.][eE]-[0-9]{3}"
"""Matches a line with a number that may be too small for a float, which is then 0."""
ANY_MAY_LOSE_DIGITS = r"[:\s,\[][-+]?(?:[0-9.]{18}|[0-9.]{16,}[eE])|[0-9.][eE][-+]?[0-9]{3}"
"""Matches a line with a number of either kind, also in a list."""
_LOSES_DIGITS = re.compile(r"[-+]?(?=[0-9]*[.eE])(?:[0-9.]{17,}(?:[eE].*)?|[0-9.]+[eE][-+]?[0-9]{3,}|[0-9.]{16}[eE].*)")
_HAS_FRACTION = r"[:\s][-+]?[0-9]*(?:\.|[0-9][eE])"


class ExactNumbers:
    """Puts the numbers of the exact fields of a kind in quotes."""

    def __init__(self, specification: Specification) -> None:
        fields = [field for field in specification.fields if field.type in _READ_EXACTLY]
        self._paths = {path for field in fields for path in (field.name, *field.paths)}
        self._groups = specification.groups

    def in_quotes(self, row: str) -> str:
        """The row with the numbers of exact fields as JSON text; nothing else changes."""
        pieces, copied = [], 0
        for _, match in self._numbers(row):
            pieces += [row[copied : match.start()], f'"{match.group()}"']
            copied = match.end()
        return "".join([*pieces, row[copied:]])

    def column_in_quotes(self, rows: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The same for a column of rows."""
        return pa.array([None if row is None else self.in_quotes(row) for row in rows.to_pylist()], pa.string())

    def _numbers(self, row: str) -> Iterator[tuple[str, re.Match[str]]]:
        """The numbers of the row's exact fields, each with its path. Handles any depth and invalid JSON."""
        depth = 0
        key: str | None = None
        group: str | None = None
        for match in _TOKEN.finditer(row):
            written = match.group()
            is_open = depth == 1 or (depth == 2 and group is not None)
            match written[0]:
                case "{" | "[":
                    depth += 1
                    if depth == 2:
                        group = key if written == "{" and key in self._groups else None
                        key = None
                case "}" | "]":
                    depth -= 1
                    key = None
                    group = group if depth > 1 else None
                case ",":
                    key = None
                case '"':
                    key = _text(written) if is_open and key is None else key
                case ":":
                    pass
                case _:
                    path = f"{group}.{key}" if group is not None else str(key)
                    if is_open and path in self._paths and _NUMBER.fullmatch(written):
                        yield path, match


def all_in_quotes(rows: pa.Array | pa.ChunkedArray) -> pa.Array:
    """JSON rows with every number that may lose digits as text, at any depth."""

    def in_quotes(token: re.Match[str]) -> str:
        return f'"{token[0]}"' if _LOSES_DIGITS.fullmatch(token[0]) else token[0]

    return pa.array([None if row is None else _TOKEN.sub(in_quotes, row) for row in rows.to_pylist()], pa.string())


def may_lose_digits(lines: pa.Array) -> npt.NDArray[np.int64]:
    """The indexes of the lines (binary, not null) with a number that may lose digits as a float; nearly always none.

    Numbers that are too small for a float are not included: they are recognized by their value, 0.
    """
    offsets = np.frombuffer(lines.buffers()[1], dtype=np.int32)[lines.offset : lines.offset + len(lines) + 1]
    buffer = lines.buffers()[2]
    if buffer is None:
        return np.empty(0, np.int64)
    data = np.frombuffer(buffer, dtype=np.uint8)[: offsets[-1]]
    places = np.unique(np.searchsorted(offsets, _long_runs(data), side="right") - 1)
    places = places[(places >= 0) & (places < len(lines))]
    if not places.size:
        return places
    chosen = lines.take(pa.array(places))
    is_one: pa.BooleanArray = pc.and_(
        pc.match_substring_regex(chosen, MAY_LOSE_DIGITS), pc.match_substring_regex(chosen, _HAS_FRACTION)
    )
    found: npt.NDArray[np.int64] = places[is_one.to_numpy(zero_copy_only=False)]
    return found


def _long_runs(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The offsets of runs of at least _LONG digits and points. Tests every fourth byte first."""
    fourth = _is_digit(np.ascontiguousarray(data[::4]))
    two = fourth[:-1] & fourth[1:]
    places = np.flatnonzero(two[:-2] & two[2:]) * 4
    for step in (2, 6, 10, 1, 3, 5, 7, 9, 11):
        places = places[_is_digit(data[places + step])]
    length = np.full(places.size, 13)
    for steps in ((-1, -2, -3), (13, 14, 15)):
        goes_on = np.ones(places.size, dtype=bool)
        for step in steps:
            goes_on &= _is_digit(data[np.clip(places + step, 0, data.size - 1)])
            length += goes_on
    return places[length >= _LONG]


def _is_digit(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether each byte is a digit or a point."""
    is_one: npt.NDArray[np.bool_] = ((data - ord("0")) < 10) | (data == ord("."))
    return is_one


def _text(written: str) -> str:
    try:
        return str(json.loads(written))
    except ValueError:  # an invalid escape, which no field name has
        return written
