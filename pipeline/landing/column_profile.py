"""What a file holds, told by one look at all of its rows: how its rows are best read again, sorted and written hangs on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from pipeline.landing.specification import Specification

_FEW_TEXTS = 100_000
"""As many different texts of a column are kept in memory at most, as a sort's numbers for them."""


@dataclass(frozen=True)
class Contents:
    """The columns of table `checked`."""

    received: int
    """Rows."""
    faulty: int
    """Rows with something wrong."""
    days: int
    """From the first instant to the last, both days included; 0 where there is none."""
    types: dict[str, str]
    """The type in SQL of each column."""
    filled: Sequence[str]
    """The columns that any row has a value in."""
    words: Sequence[str]
    """Those whose values are few texts, for many rows each."""
    starts_without: dict[str, int]
    """By resource that has a default by plan, how many starts without a fault do not name it."""


def look_through(connection: duckdb.DuckDBPyConnection, specification: Specification) -> Contents:
    """Read each row of `checked`, and each of its columns, to the end."""
    described = dict(connection.execute("select column_name, column_type from (describe checked)").fetchall())
    types = {column: described[column] for column in specification.columns}
    texts = [column for column, type in types.items() if type == "VARCHAR" and [column] != list(specification.key)]
    instant = specification.instant
    defaulted = [field.stored_as for field in specification.fields if field.has_plan_default]
    looked_for = [
        "count(*)",
        "count(reason)",
        f"date_diff('day', min({instant}), max({instant})) + 1" if instant else "0",
        *(f"count({column})" for column in types),
        *(f"approx_count_distinct({column})" for column in texts),
        *(f"count(*) filter (event_type = 'sandbox_started' and reason is null and {column} is null)" for column in defaulted),
    ]
    ((received, faulty, days, *found),) = connection.execute(f"select {', '.join(looked_for)} from checked").fetchall()
    counts, distinct = dict(zip(types, found, strict=False)), dict(zip(texts, found[len(types) :], strict=False))
    without = dict(zip(defaulted, found[len(types) + len(texts) :], strict=True))
    return Contents(
        received,
        faulty,
        days or 0,
        types,
        [column for column in types if counts[column]] or list(types),
        [column for column in texts if 0 < distinct[column] <= min(counts[column] / 10, _FEW_TEXTS)],
        {column: number for column, number in without.items() if number},
    )
