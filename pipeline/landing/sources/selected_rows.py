"""The rows that a source selects, in the scratch database, and how they are counted. docs/reference/sources.md.

A selected row has a number: that of the row of the file that it is from (row_numbers), times 2^20, plus its place among the rows
from that one. A row of the file is quarantined once, also if several of its selected rows are rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from pipeline.core.sql import parquet_files, quoted
from pipeline.landing.input_files import InputFile
from pipeline.landing.row_numbers import FILE_BITS, MAX_FILES, ROW_MASK, NumberedFiles
from pipeline.landing.sources.select_rows import FileToSelectFrom, SelectProcess
from pipeline.landing.sources.source_files import Source
from pipeline.landing.sources.source_rows import load_source_rows
from pipeline.landing.specification import Specification

PLACE_BITS = 20
FILE_ROW = f"(file_row >> {PLACE_BITS})"
"""SQL: the row of the file that a selected row is from, of its number in column `file_row`."""
_NUMBER_MACROS = f"""
create or replace temp macro number_of_file(number) as number >> {FILE_BITS + PLACE_BITS};
create or replace temp macro row_of_number(number) as (number >> {PLACE_BITS}) & {ROW_MASK};"""
assert MAX_FILES.bit_length() + FILE_BITS + PLACE_BITS < 64
_LINES = "select number as file_row, row as line, null::blob as no_text, null::varchar as over_limit from selected_rows"
_FAILED = "The select of the source fails for this row: "


@dataclass(frozen=True)
class SourceCounts:
    """Rows by outcome."""

    received: int
    """Selected rows that were accepted or duplicates, rows in quarantine, and omitted rows."""
    accepted: int
    duplicates: int
    quarantined: Counter[str]
    """Rows of the file in quarantine, by reason."""
    omitted: int
    """Rows of the file that the source left out, or joined to another row."""
    example: str
    """The reason and detail of the first row in quarantine with the most frequent reason."""


def select_source_rows(
    connection: duckdb.DuckDBPyConnection,
    process: SelectProcess,
    files: NumberedFiles,
    source: Source,
    spec: Specification,
    folder: Path,
    columns: Mapping[int, list[str]] | None = None,
) -> InputFile:
    """Run the source's select on each file, and return the selected rows as a file to check. Creates the tables of this module.

    `columns`: if table `source_rows` exists already, the columns of each file. Raises InputFileError if a file cannot be read,
    and BillhouseError if the select is wrong.
    """
    if columns is None:
        columns = load_source_rows(connection, files)
    rows = folder / "source_rows.parquet"
    connection.execute(f"copy (select file_row, row from source_rows where row is not null) to {quoted(rows)} (format parquet)")
    ((count,),) = connection.execute("select count(*) from source_rows").fetchall()
    inputs = [FileToSelectFrom(number, file.path.name, columns.get(number, [])) for number, file in files.items()]
    selected = process.run(source, spec, rows, count, inputs, folder)
    connection.execute(f"""
        create or replace temp table selected_rows as
        select
            (file_rows[1] << {PLACE_BITS}) + row_number() over (partition by file_rows[1] order by place) - 1 as number,
            file_rows,
            row
        from {parquet_files(selected.path)}""")
    connection.execute("create or replace temp table unselectable (file_row bigint, reason varchar, detail varchar)")
    connection.execute("insert into unselectable select file_row, reason, detail from source_rows where reason is not null")
    if selected.failures:
        failed = [[row, _FAILED + error] for row, error in selected.failures.items()]
        connection.executemany("insert into unselectable values (?, 'unreadable', ?)", failed)
    connection.execute(_NUMBER_MACROS)
    first = next(iter(files.values()))
    return replace(first, format="jsonl", lines=_LINES, header=None, has_flat_keys=False)


def create_outcomes(connection: duckdb.DuckDBPyConnection) -> None:
    """From table `rejected`, create table `quarantined`: one row for each row of the file that has a rejected row.

    Its columns: file_row, number (of the first rejected row; -1 if none was selected), verdict, detail, file_rows.
    """
    connection.execute(f"""
        create or replace temp table quarantined as
        with bad as (
            select {FILE_ROW} as file_row, file_row as number, verdict, detail from rejected where verdict <> 'duplicate'
            union all
            select file_row, -1, reason, detail from unselectable
        ),
        joined as (
            select number >> {PLACE_BITS} as file_row, list_sort(list_distinct(flatten(list(file_rows)))) as file_rows
            from selected_rows group by all
        )
        select
            bad.file_row,
            min(bad.number) as number,
            arg_min(bad.verdict, bad.number) as verdict,
            arg_min(bad.detail, bad.number) as detail,
            coalesce(any_value(joined.file_rows), [bad.file_row]) as file_rows
        from bad left join joined on bad.file_row = joined.file_row
        group by bad.file_row""")


def accept_by_file_row(connection: duckdb.DuckDBPyConnection) -> None:
    """Redefine view `accepted` with the row of the file in `file_row`, as it is stored."""
    connection.execute(f"""
        create or replace temp view accepted as
        select * replace ({FILE_ROW} as file_row) from checked
        where not exists (select 1 from rejected where rejected.file_row = checked.file_row)""")


def count_outcomes(connection: duckdb.DuckDBPyConnection) -> SourceCounts:
    """Count the rows of the file, and check that each has an outcome."""
    quarantined = Counter[str](dict(connection.execute("select verdict, count(*) from quarantined group by 1").fetchall()))
    ((selected,),) = connection.execute("select count(*) from selected_rows").fetchall()
    ((rejected, duplicates),) = connection.execute(
        "select count(*), count(*) filter (verdict = 'duplicate') from rejected"
    ).fetchall()
    omitted = omitted_rows(connection).total()
    accepted = selected - rejected
    received = accepted + duplicates + quarantined.total() + omitted
    return SourceCounts(received, accepted, duplicates, quarantined, omitted, example_of(connection, quarantined))


def omitted_rows(connection: duckdb.DuckDBPyConnection) -> Counter[int]:
    """By the number of the file, the rows that the source left out or joined to others; checks that each row has an outcome."""
    omitted = Counter[int](
        dict(
            connection.execute(f"""
                select file_row >> {FILE_BITS}, count(distinct file_row) from source_rows
                where
                    file_row not in (select number >> {PLACE_BITS} from selected_rows)
                    and file_row not in (select file_row from unselectable)
                group by 1""").fetchall()
        )
    )
    ((rows, outcomes),) = connection.execute(f"""
        select
            (select count(distinct file_row) from source_rows),
            (select count(*) from (
                select number >> {PLACE_BITS} as file_row from selected_rows union select file_row from unselectable
            ))""").fetchall()
    assert rows == outcomes + omitted.total(), "every row of a file is selected, in quarantine or omitted"
    return omitted


def example_of(connection: duckdb.DuckDBPyConnection, quarantined: Counter[str]) -> str:
    """Reason and detail of the first row in quarantine with the most frequent reason; empty if there is none."""
    if not quarantined:
        return ""
    _, reason = max((number, reason) for reason, number in quarantined.items())
    ((row, detail),) = connection.execute(
        "select file_row, detail from quarantined where verdict = ? order by file_row limit 1", [reason]
    ).fetchall()
    return f"{reason}, line {row}: {detail}"


RAW_ROWS = """
    select
        quarantined.file_row,
        string_agg(source_rows.raw_row, chr(10) order by source_rows.file_row, source_rows.raw_row) as raw_row
    from quarantined
    inner join (select file_row, unnest(file_rows) as part from quarantined) as parts on quarantined.file_row = parts.file_row
    inner join source_rows on parts.part = source_rows.file_row
    group by quarantined.file_row"""
"""SQL: the rows in quarantine as they were received; rows that were joined, one on each line."""
