"""Statistics of a file's columns, from one pass over its rows; they decide how the rows are sorted and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from pipeline.landing.specification import Specification

_MAX_ENUM_VALUES = 100_000
"""Maximum distinct texts of a column that is sorted as an enum, whose values are held in memory."""


@dataclass(frozen=True)
class ColumnProfile:
    """Statistics of table `checked`."""

    received: int
    """Rows."""
    invalid: int
    """Rows with an error."""
    days: int
    """Days from the first instant to the last, inclusive; 0 without instants."""
    types: dict[str, str]
    """SQL type by column."""
    filled: Sequence[str]
    """Columns with at least one value."""
    enumerable: Sequence[str]
    """Text columns with few distinct values, each in many rows."""
    starts_without: dict[str, int]
    """By resource with a plan default, the number of valid start events without it."""


def profile_columns(connection: duckdb.DuckDBPyConnection, specification: Specification) -> ColumnProfile:
    """Compute the profile of table `checked`; reads every column of every row."""
    described = dict(connection.execute("select column_name, column_type from (describe checked)").fetchall())
    types = {column: described[column] for column in specification.columns}
    texts = [column for column, type in types.items() if type == "VARCHAR" and [column] != list(specification.key)]
    instant = specification.instant
    defaulted = [field.stored_as for field in specification.fields if field.has_plan_default]
    aggregates = [
        "count(*)",
        "count(reason)",
        f"date_diff('day', min({instant}), max({instant})) + 1" if instant else "0",
        *(f"count({column})" for column in types),
        *(f"approx_count_distinct({column})" for column in texts),
        *(f"count(*) filter (event_type = 'sandbox_started' and reason is null and {column} is null)" for column in defaulted),
    ]
    ((received, invalid, days, *found),) = connection.execute(f"select {', '.join(aggregates)} from checked").fetchall()
    counts, distinct = dict(zip(types, found, strict=False)), dict(zip(texts, found[len(types) :], strict=False))
    without = dict(zip(defaulted, found[len(types) + len(texts) :], strict=True))
    return ColumnProfile(
        received,
        invalid,
        days or 0,
        types,
        [column for column in types if counts[column]] or list(types),
        [column for column in texts if 0 < distinct[column] <= min(counts[column] / 10, _MAX_ENUM_VALUES)],
        {column: number for column, number in without.items() if number},
    )
