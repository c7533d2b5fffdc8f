"""Report tables as pandas DataFrames with Arrow-backed types: decimals stay decimals, instants are timestamps in UTC.

`pipeline.read` is the function for analysts; exports read their rows by `read_frames`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from pipeline.core.errors import BillhouseError
from pipeline.core.home import DEFAULT_HOME, HOME_VARIABLE, Home
from pipeline.core.periods import BillingPeriod
from pipeline.warehouse.reports import open_reports


def read_report(
    table: str, *, period: str | BillingPeriod | None = None, home: str | Path | Home | None = None, **filters: object
) -> pd.DataFrame:
    """The rows of a report table as of the last build.

    `period`: a month, '2026-09', of a table with the column `period`. `filters`: a value, or a list of values, for each of the
    table's columns; None selects nulls. `home`: default $BILLHOUSE_HOME, else ./var. Columns have the types of the data
    dictionary: DECIMAL as Arrow decimals (Python's Decimal), never as floats; TIMESTAMPTZ as timestamps in UTC.

    Raises BillhouseError where nothing was built yet, and for an unknown table or column; its message lists the existing ones.
    """
    with open_reports(_existing_home(home)) as reports:
        columns = _columns(reports, table)
        if period is not None:
            month = str(period if isinstance(period, BillingPeriod) else BillingPeriod.parse(period))
            if "period" not in columns:
                raise BillhouseError(f"{table} has no column period.", f"Filter by one of its columns: {', '.join(columns)}.")
            filters = {"period": month, **filters}
        for name in filters:
            if name not in columns:
                raise BillhouseError(f"{table} has no column {name}.", f"Its columns: {', '.join(columns)}.")
        conditions, parameters = _conditions(filters)
        return to_frame(reports.sql(f'select * from "{table}"{conditions}', params=parameters).to_arrow_table())


def read_frames(
    reports: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object], batch_rows: int
) -> Iterator[pd.DataFrame]:
    """A query's rows as DataFrames of at most `batch_rows` rows, so that memory holds one batch."""
    for batch in reports.sql(sql, params=dict(parameters)).to_arrow_reader(batch_rows):
        yield to_frame(pa.Table.from_batches([batch]))


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a DataFrame that keeps Arrow's types. pandas' own types would make a decimal an object or a float."""
    return table.to_pandas(types_mapper=pd.ArrowDtype)


def _existing_home(home: str | Path | Home | None) -> Home:
    """The home to read from. Unlike Home.open, it makes no folders: a mistyped path is an error."""
    if isinstance(home, Home):
        return home
    return Home(Path(home or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve())


def _columns(reports: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    found = reports.execute(
        "select table_name, column_name from duckdb_columns() where schema_name = 'billing' order by table_name, column_index"
    ).fetchall()
    columns: dict[str, list[str]] = {}
    for name, column in found:
        columns.setdefault(name, []).append(column)
    if table not in columns:
        near = difflib.get_close_matches(table, columns, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise BillhouseError(f"There is no report table {table!r}.", f"{hint}Report tables: {', '.join(columns)}.")
    return columns[table]


def _conditions(filters: Mapping[str, object]) -> tuple[str, list[object]]:
    """SQL for `filters`, with its parameters. Column names come from the database itself, so that quoting them is enough."""
    conditions: list[str] = []
    parameters: list[object] = []
    for name, value in filters.items():
        values = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        alternatives = [f'"{name}" is not distinct from ?' for _ in values] or ["false"]
        conditions.append(f"({' or '.join(alternatives)})")
        parameters += values
    return (f" where {' and '.join(conditions)}" if conditions else ""), parameters
