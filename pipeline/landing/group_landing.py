"""Lands a group of small files in one pass and one write, with the results of landing them one after another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.landing.checks import LandingOptions
from pipeline.landing.converted_files import with_readable_rows
from pipeline.landing.file_groups import GroupUnread, group_error
from pipeline.landing.input_files import InputFile, while_unchanged
from pipeline.landing.landed_rows import LandedRows
from pipeline.landing.landing_index import LandingIndex
from pipeline.landing.raw_files import row_of_landed_file, write_landed_rows, write_quarantine
from pipeline.landing.result import LandedFile
from pipeline.landing.row_checks import check_group, reject_rows, scratch_database, set_file_ids
from pipeline.landing.row_numbers import FILE_BITS, ROW_MASK, is_of_file
from pipeline.landing.sources.landing import judge_source_files, write_source_quarantine
from pipeline.landing.sources.select_rows import SelectProcess
from pipeline.landing.sources.selected_rows import omitted_rows
from pipeline.landing.sources.source_files import Source
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import UnreadColumns
from pipeline.store.append import NewFiles, append_files
from pipeline.store.raw import MERGED_COLLECTIONS, SCHEMAS, merged_file_name

_EPOCH = date(1970, 1, 1)
_MAX_TEXT_BYTES = 1 << 27
"""Of the accepted rows of a group, which are sorted in memory: a Parquet file may have one long text in thousands of rows."""


@dataclass
class _Counts:
    """The rows of one file of a group by outcome."""

    received: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    omitted: int = 0
    examples: dict[str, str] = field(default_factory=dict)
    """By reason, the first row that was quarantined for it."""
    starts_without: dict[str, int] = field(default_factory=dict)
    first_at: datetime | None = None
    last_at: datetime | None = None


def land_group(
    home: Home,
    index: LandingIndex,
    process: SelectProcess,
    files: Sequence[InputFile],
    source: Source | None,
    spec: Specification,
    options: LandingOptions,
) -> list[LandedFile]:
    """Land files that have not landed and are different, all of them or none.

    Raises InputFileError before the commit if some of them must land without the others.
    """
    index.update()
    numbered = dict(enumerate(files))
    unread = GroupUnread(spec, numbered)
    with scratch_database(home) as (connection, folder), append_files(home, "land") as written:
        set_file_ids(connection, [file.file_id for file in files])
        with _splitting_if_too_large(files[0]), ExitStack() as unchanged:
            if source is None:
                before = LandedRows(connection, home, index, spec)
                readable = {number: with_readable_rows(file, folder) for number, file in numbered.items()}
                check_group(connection, readable, spec, options, unread)
                for file in files:
                    unchanged.enter_context(while_unchanged(file))
                reject_rows(connection, spec, before)
            else:
                readable = numbered
                judge_source_files(connection, home, index, process, numbered, source, spec, options, folder)
            counts = _count(connection, spec, source)
            _write_accepted(connection, written, spec, files[0])
            landed, rows = [], []
            for number, file in readable.items():
                of_file = counts[number]
                if of_file.quarantined and source is None:
                    write_quarantine(connection, written, file, spec, number)
                elif of_file.quarantined:
                    write_source_quarantine(connection, written, file, spec, is_of_file("quarantined.file_row", number))
                result = _result(file, of_file, unread.of_file(number), source)
                times = of_file.first_at, of_file.last_at
                rows.append(row_of_landed_file(file, spec, result, options, index.landed_rows + number + 1, times))
                landed.append(result)
            write_landed_rows(written, rows)
    return landed


@contextmanager
def _splitting_if_too_large(first: InputFile) -> Iterator[None]:
    """Raise an error of the disk or of memory in the block as one of the group, since fewer files may need less.

    The block commits nothing.
    """
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise group_error(first) from error


def _result(file: InputFile, counts: _Counts, unread: UnreadColumns, source: Source | None) -> LandedFile:
    quarantined = counts.quarantined.total()
    outcomes = counts.accepted + counts.duplicates + quarantined + counts.omitted
    assert counts.received == outcomes, "every row is accepted, a duplicate, quarantined or omitted"
    most = max(((rows, reason) for reason, rows in counts.quarantined.items()), default=(0, ""))[1]
    return LandedFile(
        file.path.name,
        file.file_id,
        counts.received,
        counts.accepted,
        counts.duplicates,
        quarantined,
        dict(sorted(counts.quarantined.items())),
        landed_as=file.file_id,
        unread_columns=unread.names,
        suggestions=unread.suggestions,
        misspelt_resources=unread.misspelt_resources,
        starts_without=counts.starts_without,
        example=counts.examples.get(most, ""),
        source=source.name if source is not None else None,
        omitted=counts.omitted,
    )


def _count(connection: duckdb.DuckDBPyConnection, spec: Specification, source: Source | None) -> defaultdict[int, _Counts]:
    counts: defaultdict[int, _Counts] = defaultdict(_Counts)
    defaulted = [field.stored_as for field in spec.fields if field.has_plan_default]
    is_start = "event_type = 'sandbox_started' and reason is null"
    without = "".join(f", count(*) filter ({is_start} and {column} is null)" for column in defaulted)
    for file, checked, *starts in connection.execute(
        f"select number_of_file(file_row), count(*){without} from checked group by 1"
    ).fetchall():
        counts[file].received = checked
        counts[file].starts_without = {column: rows for column, rows in zip(defaulted, starts, strict=True) if rows}
    for file, rows in connection.execute(
        "select number_of_file(file_row), count(*) from rejected where verdict = 'duplicate' group by 1"
    ).fetchall():
        counts[file].duplicates = rows
    # A row of a file that a source reads as several is quarantined once.
    quarantined = "quarantined" if source is not None else "rejected where verdict <> 'duplicate'"
    for file, verdict, rows, row, detail in connection.execute(
        f"select file_row >> {FILE_BITS}, verdict, count(*), min(file_row), arg_min(detail, file_row)"
        f" from {quarantined} group by 1, 2"
    ).fetchall():
        counts[file].quarantined[verdict] = rows
        counts[file].examples[verdict] = f"{verdict}, line {row & ROW_MASK}: {detail}"
    for file, accepted, first_at, last_at in connection.execute(
        f"select file_row >> {FILE_BITS}, count(*), min({spec.instant}), max({spec.instant}) from accepted group by 1"
    ).fetchall():
        counts[file].accepted, counts[file].first_at, counts[file].last_at = accepted, first_at, last_at
    if source is not None:
        omitted = omitted_rows(connection)
        for file in omitted.keys() | counts.keys():
            of_file = counts[file]
            of_file.omitted = omitted[file]
            of_file.received = of_file.accepted + of_file.duplicates + of_file.quarantined.total() + of_file.omitted
    return counts


def _write_accepted(connection: duckdb.DuckDBPyConnection, written: NewFiles, spec: Specification, first: InputFile) -> None:
    """Write the accepted rows: a file a day where the files of a day are merged, otherwise one for each landed file and day.

    Raises InputFileError, of the first file, if a row is of no file, or the rows are too large to be sorted in memory.
    """
    schema = SCHEMAS[spec.collection]
    columns = ", ".join([*spec.columns, "file_id", "file_row"])
    day = f"epoch_us({spec.instant}) // 86400000000"
    connection.execute(f"""
        create temp table accepted_rows as
        select file_row >> {FILE_BITS} as number, {day} as day, {", ".join(spec.columns)},
            getvariable('file_ids')[(file_row >> {FILE_BITS}) + 1] as file_id, file_row & {ROW_MASK} as file_row
        from accepted""")
    texts = " + ".join(f"coalesce(strlen({column.name}), 0)" for column in schema if pa.types.is_string(column.type))
    ((without_file, text_bytes),) = connection.execute(
        f"select count(*) filter (file_id is null), sum({texts}) from accepted_rows"
    ).fetchall()
    if without_file or (text_bytes or 0) > _MAX_TEXT_BYTES:
        raise group_error(first)
    place = "day" if spec.collection in MERGED_COLLECTIONS else "number, day"
    # The key last: a source may select several rows from one.
    order = f"{place}, sandbox_id, {spec.instant}, file_id, file_row, {', '.join(spec.key)}"
    table = connection.sql(f"select {columns} from accepted_rows order by {order}").to_arrow_table()
    table = table.cast(schema)
    start = 0
    for day_number, file_ids, counts in connection.execute(f"""
        select day, list(file_id order by file_id), list(row_count order by file_id)
        from (select number, day, file_id, count(*) as row_count from accepted_rows group by all)
        group by {place} order by {place}""").fetchall():
        folder = written.home.raw / spec.collection / f"{spec.partition}={_EPOCH + timedelta(days=day_number)}"
        names = [f"{file_id}.parquet" for file_id in file_ids]
        target = written.file(folder / (names[0] if len(names) == 1 else merged_file_name(names)))
        rows = table.slice(start, sum(counts))
        # The keys of a merged file's footer are file ids alone.
        with pq.ParquetWriter(target, rows.schema, compression="zstd", compression_level=1, store_schema=False) as writer:
            writer.write_table(rows)
            if len(names) > 1:
                writer.add_key_value_metadata({file_id: str(count) for file_id, count in zip(file_ids, counts, strict=True)})
        start += rows.num_rows
    assert start == table.num_rows
