"""Writes the rows of a landing to the raw collections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.sql import quoted
from pipeline.landing.checks import LandingOptions
from pipeline.landing.column_profile import ColumnProfile
from pipeline.landing.csv_query import csv_header_line
from pipeline.landing.file_rows import open_raw_rows
from pipeline.landing.input_files import InputFile
from pipeline.landing.record_kinds import Kind
from pipeline.landing.result import LandedFile
from pipeline.landing.row_numbers import ROW_MASK
from pipeline.landing.specification import Specification
from pipeline.store.append import NewFiles
from pipeline.store.raw import SCHEMAS, merged_file_name

_DAY = 86_400_000_000
"""In microseconds."""


def write_accepted(
    connection: duckdb.DuckDBPyConnection, files: NewFiles, file: InputFile, spec: Specification, profile: ColumnProfile
) -> None:
    """Write view `accepted` to the raw collection; events and samples one file per day, sorted for the models' queries."""
    collection = files.home.raw / spec.collection
    name = f"{file.file_id}.parquet"
    connection.execute(f"create type this_file as enum ({quoted(file.file_id)})")
    if spec.partition is None:
        rows = f"select {_columns(file, profile, spec.columns)} from accepted order by file_row"
        copy_rows(connection, rows, files.file(collection / name))
        return
    # Sorting fewer bytes halves its time: empty columns are added after the sort, and text columns with few values are sorted as
    # enums, whose order is that of the texts.
    for column in profile.enumerable:
        connection.execute(
            f"create type values_of_{column} as enum ("
            f"select distinct {column} from checked where {column} is not null order by {column})"
        )
    sorted_columns = ", ".join(
        f"{column}::values_of_{column} as {column}" if column in profile.enumerable else column for column in profile.filled
    )
    days = connection.execute(f"select distinct epoch_us({spec.instant}) // {_DAY} as day from accepted order by day").fetchall()
    for (number,) in days:
        day = date(1970, 1, 1) + timedelta(days=number)
        rows = f"""
            select {_columns(file, profile, profile.filled)}
            from (
                select {sorted_columns}, file_row
                from accepted
                where
                    {spec.instant} >= timestamptz '{day} 00:00:00+00'
                    and {spec.instant} < timestamptz '{day} 00:00:00+00' + interval 1 day
                order by sandbox_id, {spec.instant}, file_row
            )"""
        copy_rows(connection, rows, files.file(collection / f"{spec.partition}={day}" / name))


def _columns(file: InputFile, profile: ColumnProfile, carried: Sequence[str]) -> str:
    """The columns of a raw file, as SQL over the `carried` columns; others are null."""
    columns = [f"cast({column if column in carried else 'null'} as {type}) as {column}" for column, type in profile.types.items()]
    # A constant of an enum with one value: no dictionary look-up per row.
    columns.append(f"{quoted(file.file_id)}::this_file as file_id")
    return ", ".join([*columns, "file_row"])


def write_quarantine(
    connection: duckdb.DuckDBPyConnection, files: NewFiles, file: InputFile, spec: Specification, number: int = 0
) -> None:
    """Write the rows of a file in table `rejected`, except duplicates, to the quarantine. `number`: of the file in its group."""
    event_id = "checked.event_id" if spec.kind in (Kind.USAGE, Kind.VOIDS) else "null"
    written = files.file(files.home.raw / "quarantine" / f"{file.file_id}.parquet")
    header = quoted(csv_header_line(file)) if file.format.startswith("csv") else "null"
    with open_raw_rows(connection, {number: file}) as raw:
        copy_rows(
            connection,
            f"""
            select {quoted(file.file_id)} as file_id, {quoted(file.path.name)} as file_name,
                raw.file_row & {ROW_MASK} as file_row,
                {quoted(spec.kind)} as kind, rejected.verdict as reason, rejected.detail, raw.raw_row,
                cast({event_id} as varchar) as event_id, cast({header} as varchar) as header
            from rejected
            inner join checked on rejected.file_row = checked.file_row
            inner join ({raw}) as raw on rejected.file_row = raw.file_row
            where rejected.verdict <> 'duplicate'
            order by rejected.file_row""",
            written,
        )


def write_landed_file(
    files: NewFiles,
    file: InputFile,
    spec: Specification,
    landed: LandedFile,
    options: LandingOptions,
    sequence: int,
    first_and_last: tuple[datetime | None, datetime | None],
    *,
    retried_file_id: str | None = None,
    superseded: int | None = None,
) -> None:
    """Write the file's row of landed_files, by which readers know that it has landed. It must be the last file of the write.

    `superseded`: for a retry, the rows that leave the quarantine.
    """
    row = row_of_landed_file(file, spec, landed, options, sequence, first_and_last)
    write_landed_rows(files, [row | {"retried_file_id": retried_file_id, "superseded_rows": superseded}])


def row_of_landed_file(
    file: InputFile,
    spec: Specification,
    landed: LandedFile,
    options: LandingOptions,
    sequence: int,
    first_and_last: tuple[datetime | None, datetime | None],
) -> dict[str, Any]:
    """The row of landed_files of a file that is no retry."""
    first_at, last_at = first_and_last
    return {
        "landed_sequence": sequence,
        "file_id": file.file_id,
        "file_name": file.path.name,
        "file_bytes": file.file_bytes,
        "kind": str(spec.kind),
        "format": file.format,
        "landed_at": options.landed_at,
        "received_rows": landed.received - landed.omitted,
        "accepted_rows": landed.accepted,
        "duplicate_rows": landed.duplicates,
        "quarantined_rows": landed.quarantined,
        "first_at": first_at,
        "last_at": last_at,
        "unread_columns": landed.unread_text,
        "retried_file_id": None,
        "source_name": landed.source,
        "omitted_rows": landed.omitted if landed.source is not None else None,
        "superseded_rows": None,
    }


def write_landed_rows(files: NewFiles, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of landed_files, by which readers know that their files have landed. It must be the last file of the write."""
    names = [f"{row['landed_sequence']:08d}-{row['file_id']}.parquet" for row in rows]
    name = names[0] if len(names) == 1 else merged_file_name(names)
    table = pa.Table.from_pylist(rows, schema=SCHEMAS["landed_files"])
    pq.write_table(table, files.file(files.home.raw / "landed_files" / name))


def copy_rows(connection: duckdb.DuckDBPyConnection, rows: str, target: Path) -> None:
    """Write the result of a query as Parquet."""
    # Level 1 is a quarter faster, and higher levels are not smaller for these files.
    connection.execute(f"copy ({rows}) to {quoted(target)} (format parquet, compression zstd, compression_level 1)").fetchall()
