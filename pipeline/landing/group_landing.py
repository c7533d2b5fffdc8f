"""Lands a group of small files in one pass and one write, with the results of landing them one after another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import duckdb
import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.landing.checks import LandingOptions
from pipeline.landing.file_groups import FILE_BITS, ROW_MASK, GroupUnread
from pipeline.landing.input_files import InputFile, while_unchanged
from pipeline.landing.landed_rows import LandedRows
from pipeline.landing.landing_index import LandingIndex
from pipeline.landing.raw_files import write_landed_file, write_quarantine
from pipeline.landing.result import LandedFile
from pipeline.landing.row_checks import check_group, reject_rows, scratch_database, set_file_ids
from pipeline.landing.specification import Specification
from pipeline.store.append import NewFiles, append_files
from pipeline.store.raw import MERGED_COLLECTIONS, SCHEMAS, merged_file_name

_EPOCH = date(1970, 1, 1)


@dataclass
class _Counts:
    """The rows of one file of a group by outcome."""

    received: int = 0
    starts_without: dict[str, int] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """By reason, the first row that was rejected for it."""
    accepted: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None


def land_group(
    home: Home, index: LandingIndex, files: Sequence[InputFile], spec: Specification, options: LandingOptions
) -> list[LandedFile]:
    """Land files that have not landed and are different, all of them or none."""
    index.update()
    unread = GroupUnread(spec, files)
    with scratch_database(home) as (connection, _), append_files(home, "land") as written:
        before = LandedRows(connection, home, index, spec)
        set_file_ids(connection, [file.file_id for file in files])
        check_group(connection, files, spec, options, unread)
        with ExitStack() as unchanged:
            for file in files:
                unchanged.enter_context(while_unchanged(file))
            reject_rows(connection, spec, before)
            counts = _count(connection, spec)
            _write_accepted(connection, written, spec)
            landed = []
            for number, file in enumerate(files):
                of_file = counts[number]
                duplicates = of_file.rejected.pop("duplicate", 0)
                if of_file.rejected:
                    write_quarantine(connection, written, file, spec, number)
                result = _result(file, of_file, duplicates, unread, number)
                times = of_file.first_at, of_file.last_at
                write_landed_file(written, file, spec, result, options, index.landed_rows + number + 1, times)
                landed.append(result)
    return landed


def _result(file: InputFile, counts: _Counts, duplicates: int, unread: GroupUnread, number: int) -> LandedFile:
    quarantined = counts.rejected.total()
    assert counts.received == counts.accepted + duplicates + quarantined, "every row is accepted, a duplicate or quarantined"
    columns = unread.of_file[number]
    most = max(((rows, reason) for reason, rows in counts.rejected.items()), default=(0, ""))[1]
    return LandedFile(
        file.path.name,
        file.file_id,
        counts.received,
        counts.accepted,
        duplicates,
        quarantined,
        dict(sorted(counts.rejected.items())),
        landed_as=file.file_id,
        unread_columns=columns.names,
        suggestions=columns.suggestions,
        misspelt_resources=columns.misspelt_resources,
        starts_without=counts.starts_without,
        example=counts.examples.get(most, ""),
    )


def _count(connection: duckdb.DuckDBPyConnection, spec: Specification) -> defaultdict[int, _Counts]:
    counts: defaultdict[int, _Counts] = defaultdict(_Counts)
    number = f"file_row >> {FILE_BITS}"
    defaulted = [field.stored_as for field in spec.fields if field.has_plan_default]
    is_start = "event_type = 'sandbox_started' and reason is null"
    without = "".join(f", count(*) filter ({is_start} and {column} is null)" for column in defaulted)
    for file, received, *starts in connection.execute(f"select {number}, count(*){without} from checked group by 1").fetchall():
        counts[file].received = received
        counts[file].starts_without = {column: rows for column, rows in zip(defaulted, starts, strict=True) if rows}
    for file, verdict, rows, row, detail in connection.execute(
        f"select {number}, verdict, count(*), min(file_row), arg_min(detail, file_row) from rejected group by 1, 2"
    ).fetchall():
        counts[file].rejected[verdict] = rows
        counts[file].examples[verdict] = f"{verdict}, line {row & ROW_MASK}: {detail}"
    for file, accepted, first_at, last_at in connection.execute(
        f"select {number}, count(*), min({spec.instant}), max({spec.instant}) from accepted group by 1"
    ).fetchall():
        counts[file].accepted, counts[file].first_at, counts[file].last_at = accepted, first_at, last_at
    return counts


def _write_accepted(connection: duckdb.DuckDBPyConnection, written: NewFiles, spec: Specification) -> None:
    """Write the accepted rows: a file a day where the files of a day are merged, otherwise one for each landed file and day."""
    columns = ", ".join([*spec.columns, "file_id", "file_row"])
    day = f"epoch_us({spec.instant}) // 86400000000"
    connection.execute(f"""
        create temp table accepted_rows as
        select file_row >> {FILE_BITS} as number, {day} as day, {", ".join(spec.columns)},
            getvariable('file_ids')[(file_row >> {FILE_BITS}) + 1] as file_id, file_row & {ROW_MASK} as file_row
        from accepted""")
    place = "day" if spec.collection in MERGED_COLLECTIONS else "number, day"
    order = f"{place}, sandbox_id, {spec.instant}, file_id, file_row"
    table = connection.sql(f"select {columns} from accepted_rows order by {order}").to_arrow_table()
    table = table.cast(SCHEMAS[spec.collection])
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
