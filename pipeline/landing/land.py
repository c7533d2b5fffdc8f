"""Lands files, one at a time, each whole or not at all.

A file's rows are checked and judged in a scratch database; what comes of them is written aside as Parquet and renamed into the
raw collections; its row in `landed_files`, renamed last, is the commit. A kill before that leaves files that no reader looks at
and that the next landing removes.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import BillhouseError, InputFileError
from pipeline.files import replace_atomically, sync_folder
from pipeline.home import PROJECT_ROOT, Home
from pipeline.kinds import Kind
from pipeline.landing.checks import checked_query
from pipeline.landing.collections import (
    SCHEMAS,
    SCRATCH_PREFIX,
    ensure_collections,
    file_id_of,
    landed_files,
    remove_unfinished,
    scratch_folder,
)
from pipeline.landing.duplicates import judge
from pipeline.landing.sources import Source, check_unchanged, examine, raw_rows, rows_of
from pipeline.landing.specification import Specification, specification
from pipeline.landing.summary import LandedFile, LandingSummary
from pipeline.sql import quoted

MEMORY_LIMIT = "1200MB"
_DAY = 86_400_000_000
"""In microseconds."""
_FEW_TEXTS = 100_000
"""As many different texts of a column are kept in memory at most, as a sort's numbers for them."""


def land_files(
    home: Home,
    paths: Sequence[Path],
    kind: Kind = Kind.USAGE,
    *,
    landed_at: datetime | None = None,
    seeds: Path = PROJECT_ROOT / "seeds",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> LandingSummary:
    """Land each file: what is good is stored, what is bad goes to quarantine, what is there already is counted.

    `landed_at` is now unless given. A file that cannot be read as a whole is in the summary's problems, and the others land.
    Landing a file again, after whatever interruption, is safe.
    """
    spec = specification(kind, seeds)
    summary = LandingSummary()
    with home.writing():
        with _writing_to(home, "Nothing landed"):
            ensure_collections(home)
            remove_unfinished(home)
        for done, path in enumerate(paths):
            if on_progress is not None:
                on_progress(path.name, done, len(paths))
            try:
                with _writing_to(home, f"{path} did not land"):
                    summary.files.append(_land(home, path, spec, landed_at or datetime.now(UTC)))
                    summary.landed_paths.append(path)
            except InputFileError as error:
                summary.problems.append(error.problem)
    return summary


@contextmanager
def _writing_to(home: Home, failure: str) -> Iterator[None]:
    """Tell plainly that the home cannot be written to."""
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise BillhouseError(
            f"{failure}: {home.path} cannot be written to ({str(error).splitlines()[0]}).",
            "See that its disk has room, and land all files again: what has landed does not land twice.",
        ) from error


def _land(home: Home, path: Path, spec: Specification, landed_at: datetime) -> LandedFile:
    source = examine(path, spec.kind)
    before = {file_id_of(row): row for row in landed_files(home)}
    if source.file_id in before:
        received = pq.read_table(before[source.file_id], columns=["received_rows"])["received_rows"][0].as_py()
        return LandedFile(path.name, source.file_id, received, 0, received, 0, {}, is_already_landed=True)
    with _scratch(home) as (connection, folder):
        with rows_of(connection, source, spec) as rows:
            connection.execute(f"create temp table checked as {_with_derived_ids(spec, checked_query(spec, rows, landed_at))}")
        judge(connection, home, spec)
        connection.execute("""
            create temp table refused as
            select file_row, reason as verdict, detail from checked where reason is not null
            union all
            select file_row, verdict, detail from judged where verdict <> 'accepted'""")
        counts = Counter(dict(connection.execute("select verdict, count(*) from refused group by 1").fetchall()))
        connection.execute("""
            create temp view accepted as
            select * from checked
            where not exists (select 1 from refused where refused.file_row = checked.file_row)""")
        received, accepted = _one(connection, "select count(*) from checked"), _one(connection, "select count(*) from accepted")
        duplicates = counts.pop("duplicate", 0)
        assert received == accepted + duplicates + counts.total(), "every row received is accepted, a duplicate or quarantined"
        landed = LandedFile(
            path.name, source.file_id, received, accepted, duplicates, counts.total(), dict(sorted(counts.items()))
        )
        moves = [
            *_write_accepted(connection, folder, source, spec),
            *_write_quarantine(connection, folder, source, spec),
        ]
        check_unchanged(source)
        for written, place in moves:
            _move(written, home.raw / place)
        _commit(home, connection, source, spec, landed, landed_at, len(before) + 1)
    return landed


def _with_derived_ids(spec: Specification, checked: str) -> str:
    """An event without an id gets one from its content, so that an exact repeat is the same event. Rules, section 3."""
    if spec.kind is not Kind.USAGE:
        return checked
    parts = ["sandbox_id", "user_id", "epoch_us(event_at)::varchar", "event_type"]
    parts += [f"coalesce({resource}::varchar, '-')" for resource in ("vcpu_count", "memory_gb", "storage_gb")]
    derived = "md5(" + " || chr(31) || ".join(parts)
    for field in spec.fields:
        if field.came_later:
            derived += f" || coalesce(chr(31) || '{field.name}=' || {field.name}::varchar, '')"
    derived += ")"
    return f"""
        select * replace (case when reason is null then coalesce(event_id, {derived}) else event_id end as event_id)
        from ({checked})"""


@contextmanager
def _scratch(home: Home) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A database and a folder of this landing's own, on disk, so that memory stays flat; gone afterwards."""
    folder = scratch_folder(home) / f"{SCRATCH_PREFIX}{uuid.uuid4().hex}"
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700)
    connection = duckdb.connect()
    try:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set preserve_insertion_order = false")  # rows are numbered, and ordered where it matters
        connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
        connection.execute(f"set temp_directory = {quoted(folder / 'spill')}")
        yield connection, folder
    finally:
        connection.close()
        shutil.rmtree(folder, ignore_errors=True)


def _write_accepted(
    connection: duckdb.DuckDBPyConnection, folder: Path, source: Source, spec: Specification
) -> Iterator[tuple[Path, Path]]:
    """Accepted rows as Parquet; events and samples one file a day, sorted for the queries that follow.

    Yields (written, its place in raw/).
    """
    name = f"{source.file_id}.parquet"
    types = _types(connection, spec)
    if spec.partition is None:
        columns = ", ".join(_columns(spec, source, spec.columns, types))
        if _one(connection, "select count(*) from accepted"):
            written = folder / name
            _copy(connection, f"select {columns} from accepted order by file_row", written)
            yield written, Path(spec.collection) / name
        return
    # So that the sort has less to carry, which halves its time: what no row has comes after it, and a column of few texts is
    # numbers meanwhile, in the order of the texts.
    carried, words = _filled_columns(connection, spec, types)
    for column in words:
        connection.execute(
            f"create type words_of_{column} as enum ("
            f"select distinct {column} from checked where {column} is not null order by {column})"
        )
    columns = ", ".join(_columns(spec, source, carried, types))
    sorted_as = ", ".join(f"{column}::words_of_{column} as {column}" if column in words else column for column in carried)
    days = connection.execute(f"select distinct epoch_us({spec.instant}) // {_DAY} as day from accepted order by day").fetchall()
    for (number,) in days:
        day = date(1970, 1, 1) + timedelta(days=number)
        written = folder / f"{day}-{name}"
        rows = f"""
            select {columns}
            from (
                select {sorted_as}, file_row
                from accepted
                where
                    {spec.instant} >= timestamptz '{day} 00:00:00+00'
                    and {spec.instant} < timestamptz '{day} 00:00:00+00' + interval 1 day
                order by sandbox_id, {spec.instant}, file_row
            )"""
        _copy(connection, rows, written)
        yield written, Path(spec.collection) / f"{spec.partition}={day}" / name


def _columns(spec: Specification, source: Source, carried: Sequence[str], types: Mapping[str, str]) -> Iterator[str]:
    """Each column of a raw file, as SQL over the columns that are carried to it."""
    for column in spec.columns:
        yield f"cast({column if column in carried else 'null'} as {types[column]}) as {column}"
    yield f"{quoted(source.file_id)} as file_id"
    yield "file_row"


def _filled_columns(
    connection: duckdb.DuckDBPyConnection, spec: Specification, types: Mapping[str, str]
) -> tuple[Sequence[str], Sequence[str]]:
    """The columns that any row has a value in; and those among them whose values are few texts, for many rows each."""
    texts = [column for column in spec.columns if types[column] == "VARCHAR" and [column] != list(spec.key)]
    counted = [*(f"count({column})" for column in spec.columns), *(f"approx_count_distinct({column})" for column in texts)]
    (found,) = connection.execute(f"select {', '.join(counted)} from checked").fetchall()
    counts, distinct = dict(zip(spec.columns, found, strict=False)), dict(zip(texts, found[len(spec.columns) :], strict=True))
    filled = [column for column in spec.columns if counts[column]] or spec.columns
    return filled, [column for column in texts if 0 < distinct[column] <= min(counts[column] / 10, _FEW_TEXTS)]


def _types(connection: duckdb.DuckDBPyConnection, spec: Specification) -> Mapping[str, str]:
    """The type in SQL of each column."""
    types = dict(connection.execute("select column_name, column_type from (describe checked)").fetchall())
    return {column: types[column] for column in spec.columns}


def _write_quarantine(
    connection: duckdb.DuckDBPyConnection, folder: Path, source: Source, spec: Specification
) -> Iterator[tuple[Path, Path]]:
    if not _one(connection, "select count(*) from refused where verdict <> 'duplicate'"):
        return
    event_id = "checked.event_id" if spec.kind is Kind.USAGE else "null"
    written = folder / f"quarantine-{source.file_id}.parquet"
    with raw_rows(connection, source) as raw:
        _copy(
            connection,
            f"""
            select {quoted(source.file_id)} as file_id, {quoted(source.path.name)} as file_name, refused.file_row,
                {quoted(spec.kind)} as kind, refused.verdict as reason, refused.detail, raw.raw_row,
                cast({event_id} as varchar) as event_id
            from refused
            inner join checked on refused.file_row = checked.file_row
            inner join ({raw}) as raw on refused.file_row = raw.file_row
            where refused.verdict <> 'duplicate'
            order by refused.file_row""",
            written,
        )
    yield written, Path("quarantine") / f"{source.file_id}.parquet"


def _commit(
    home: Home,
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    spec: Specification,
    landed: LandedFile,
    landed_at: datetime,
    sequence: int,
) -> None:
    """Write the file's row in landed_files: from here on it has landed."""
    first_at, last_at = connection.execute(f"select min({spec.instant}), max({spec.instant}) from accepted").fetchone() or (
        None,
        None,
    )
    row = {
        "landed_sequence": sequence,
        "file_id": source.file_id,
        "file_name": source.path.name,
        "file_bytes": source.file_bytes,
        "kind": str(spec.kind),
        "format": source.format,
        "landed_at": landed_at,
        "received_rows": landed.received,
        "accepted_rows": landed.accepted,
        "duplicate_rows": landed.duplicates,
        "quarantined_rows": landed.quarantined,
        "first_at": first_at,
        "last_at": last_at,
    }
    with replace_atomically(home.raw / "landed_files" / f"{sequence:08d}-{source.file_id}.parquet") as path:
        pq.write_table(pa.Table.from_pylist([row], schema=SCHEMAS["landed_files"]), path)


def _copy(connection: duckdb.DuckDBPyConnection, rows: str, target: Path) -> None:
    # Level 1 is as small here as the higher ones, and takes a quarter less time.
    connection.execute(f"copy ({rows}) to {quoted(target)} (format parquet, compression zstd, compression_level 1)").fetchall()
    target.chmod(0o600)
    with target.open("rb") as written:
        os.fsync(written.fileno())


def _move(written: Path, target: Path) -> None:
    is_first = not target.parent.exists()
    target.parent.mkdir(mode=0o700, exist_ok=True)
    os.replace(written, target)
    sync_folder(target.parent)
    if is_first:  # else a power cut may take the folder with all that is in it
        sync_folder(target.parent.parent)


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    ((value,),) = connection.execute(sql).fetchall()
    return int(value)
