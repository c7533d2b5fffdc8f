"""Checks JSON documents against limits, in Python, since SQL would hold every level of thousands of rows in memory."""

from __future__ import annotations

import re
from enum import StrEnum

import duckdb
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from pipeline.core.input_limits import MAX_NESTING_LEVELS, MAX_NUMBER_DIGITS

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_LONG_NUMBER = re.compile(rf"[0-9]{{{MAX_NUMBER_DIGITS + 1}}}")


class JsonBound(StrEnum):
    """A limit that a document exceeds."""

    DEEP = "deep"
    DIGITS = "digits"


def create_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Register the SQL function `broken_json_bound(document)`: a JsonBound or null."""
    connection.create_function(
        "broken_json_bound",
        _broken_bounds,
        ["VARCHAR"],
        "VARCHAR",
        type=PythonUDFType.ARROW,
        null_handling=FunctionNullHandling.SPECIAL,
    )


def _broken_bounds(documents: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pa.array([_broken_bound(document.as_py()) for document in documents], pa.string())


def _broken_bound(document: str | None) -> JsonBound | None:
    without_text = _TEXT.sub("", document or "")
    if _LONG_NUMBER.search(without_text):
        return JsonBound.DIGITS
    depth = 0
    for bracket in _BRACKET.findall(without_text):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_NESTING_LEVELS:
            return JsonBound.DEEP
    return None
