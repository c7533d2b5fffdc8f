"""Lands files, one at a time, each whole or not at all.

A file's rows are checked and judged in a scratch database; what comes of them is appended to the raw collections, together with
the file's row in `landed_files`, which comes last: from there on readers count them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import BillhouseError, InputFileError, Problem
from pipeline.core.failures import failure_in_words
from pipeline.core.home import SEEDS, Home
from pipeline.core.sql import quoted
from pipeline.landing.checks import Reading, checked_query
from pipeline.landing.column_profile import Contents, look_through
from pipeline.landing.currency_changes import find_currency_changes
from pipeline.landing.duplicates import is_filled, judge
from pipeline.landing.files_to_land import Source, examine, while_unchanged
from pipeline.landing.instants import MACROS
from pipeline.landing.json_bounds import create_functions
from pipeline.landing.quarantine import QuarantinedFile, load_quarantined_rows, quarantined_files
from pipeline.landing.record_kinds import Kind, TimestampUnit
from pipeline.landing.result import LandedFile, LandingSummary
from pipeline.landing.sources import csv_header_line, raw_rows, readable, rows_of
from pipeline.landing.specification import Specification, specification
from pipeline.landing.unread import UnreadColumns
from pipeline.store.append import NewFiles, append_files, finish_interrupted
from pipeline.store.raw import (
    SCHEMAS,
    ensure_raw_collections,
    file_id_of,
    landed_files,
)
from pipeline.store.scratch_folders import scratch_folder

MEMORY_LIMIT = "1200MB"
_DAY = 86_400_000_000
"""In microseconds."""
_FEW_DAYS = 2
"""Each day is written by a query of its own. For no more, to read a file again is sooner done than to keep its rows aside."""


OnProgress = Callable[[str, int, int], None]
"""Called with a file's name, how many are done, and of how many."""


def land_files(
    home: Home,
    paths: Sequence[Path],
    kind: Kind = Kind.USAGE,
    *,
    landed_at: datetime | None = None,
    timestamps: TimestampUnit | None = None,
    seeds: Path = SEEDS,
    on_progress: OnProgress | None = None,
) -> LandingSummary:
    """Land each file: what is good is stored, what is bad goes to quarantine, what is there already is counted.

    `landed_at` is now unless given. `timestamps`: what numbers mean where instants are expected. A file that cannot be read as a
    whole is in the summary's problems, and the others land. Landing a file again, after whatever interruption, is safe: its
    rows are duplicates, and those of it that are in quarantine are judged again.
    """
    spec = specification(kind, seeds)
    summary = LandingSummary()
    with home.writing():
        _prepare(home)
        for done, path in enumerate(paths):
            if on_progress is not None:
                on_progress(path.name, done, len(paths))
            try:
                with _writing_to(home, f"{path} did not land"), _reading(path):
                    reading = Reading(landed_at or datetime.now(UTC), timestamps)
                    summary.files.append(_land(home, path, spec, reading))
                    summary.landed_paths.append(path)
            except InputFileError as error:
                summary.problems.append(error.problem)
    return summary


def land_again(
    home: Home,
    names: Sequence[str] = (),
    kind: Kind | None = None,
    *,
    landed_at: datetime | None = None,
    timestamps: TimestampUnit | None = None,
    seeds: Path = SEEDS,
    on_progress: OnProgress | None = None,
) -> LandingSummary:
    """Judge the rows in quarantine again, as if they landed now: of files of these names, and of this kind; of all by default.

    What is right now lands, with the file and the line that it came in. What is not stays, with its reason of today. A file
    without rows in quarantine is not in the summary; names that no file has are among its problems.
    """
    summary = LandingSummary()
    with home.writing():
        _prepare(home)
        found = [
            file
            for file in quarantined_files(home)
            if (kind is None or file.kind is kind) and (not names or file.file_name in names)
        ]
        known = {file.file_name for file in found}
        for name in names:
            if name not in known:
                reason = "has no rows in quarantine" + (f" as {kind}." if kind else ".")
                summary.problems.append(Problem(name, None, reason, "See billing.quarantined_events for the files that have."))
        for done, file in enumerate(found):
            if on_progress is not None:
                on_progress(file.file_name, done, len(found))
            try:
                with _writing_to(home, f"The rows of {file.file_name} in quarantine were not judged"), _reading(file.file_name):
                    reading = Reading(landed_at or datetime.now(UTC), timestamps)
                    summary.files.append(_judge_again(home, file, specification(file.kind, seeds), reading))
            except InputFileError as error:
                summary.problems.append(error.problem)
    return summary


def _prepare(home: Home) -> None:
    with _writing_to(home, "Nothing landed"):
        ensure_raw_collections(home)
        finish_interrupted(home)


@contextmanager
def _writing_to(home: Home, failure: str) -> Iterator[None]:
    """Tell plainly that the home cannot be written to."""
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        known = failure_in_words(error)
        raise BillhouseError(f"{failure}: {home.path} cannot be written to. {known.message}", known.next_step) from error


@contextmanager
def _reading(file: Path | str) -> Iterator[None]:
    """What a file alone can be the cause of stops no other file."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        if "offload" in str(error):  # the home's disk has no room
            raise
        next_step = "Split it into smaller files, and land these."
        raise InputFileError(file, f"needs more than the {MEMORY_LIMIT} of memory that a landing has.", next_step) from error
    except (duckdb.IOException, BillhouseError, OSError):
        raise
    except (duckdb.Error, pa.ArrowException, ValueError, RecursionError, MemoryError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputFileError(
            file, f"cannot be read ({cause[:300]}); nothing of it landed.", "Write it again in another format, and land that."
        ) from error


def _land(home: Home, path: Path, spec: Specification, reading: Reading) -> LandedFile:
    source = examine(path, spec.kind)
    before = {file_id_of(row): row for row in landed_files(home)}
    if source.file_id in before:
        received = pq.read_table(before[source.file_id], columns=["received_rows"])["received_rows"][0].as_py()
        return _land_what_landed(home, source, received, spec, reading)
    with _scratch(home) as (connection, folder), append_files(home, "land") as files:
        source = readable(source, folder)
        unread = UnreadColumns(spec)
        contents = _check(connection, home, source, spec, reading, unread)
        with while_unchanged(source):
            _judge(connection, home, spec)
            counts, example = _refusals(connection)
            duplicates = counts.pop("duplicate", 0)
            ((accepted, first_at, last_at),) = _accepted(connection, spec)
            if accepted:
                _write_accepted(connection, files, source, spec, contents)
            if counts:
                _write_quarantine(connection, files, source, spec)
        received = contents.received
        assert received == accepted + duplicates + counts.total(), "every row received is accepted, a duplicate or quarantined"
        landed = LandedFile(
            path.name,
            source.file_id,
            received,
            accepted,
            duplicates,
            counts.total(),
            dict(sorted(counts.items())),
            landed_as=source.file_id,
            unread_columns=unread.names,
            suggestions=unread.suggestions,
            misspelt_resources=unread.misspelt_resources,
            starts_without=contents.starts_without,
            example=example,
        )
        _write_landed_file(files, source, spec, landed, reading, len(before) + 1, (first_at, last_at))
    return landed


def _land_what_landed(home: Home, source: Source, received: int, spec: Specification, reading: Reading) -> LandedFile:
    """A file that has landed before: its rows are duplicates, but for those in quarantine, which are judged again."""
    quarantined = next(iter(quarantined_files(home, source.file_id)), None)
    if quarantined is None:
        return LandedFile(source.path.name, source.file_id, received, 0, received, 0, {}, is_already_landed=True)
    if quarantined.header is None and quarantined.format.startswith("csv"):
        quarantined = replace(quarantined, header=csv_header_line(source))
    again = _judge_again(home, quarantined, spec, reading)
    duplicates = received - again.accepted - again.quarantined
    return replace(again, file_name=source.path.name, received=received, duplicates=duplicates, is_already_landed=True)


def _judge_again(home: Home, file: QuarantinedFile, spec: Specification, reading: Reading) -> LandedFile:
    """Judge a file's rows in quarantine as if they landed now, and land what has changed as a landing of its own.

    Its rows supersede those in quarantine, by `retried_rows`; rows whose reason is as it was stay as they are. The id of the
    landing is made from the rows that it supersedes: a row leaves the quarantine once.
    """
    source = file.source()
    with _scratch(home) as (connection, _), append_files(home, "land --again") as files:
        unchangeable = load_quarantined_rows(connection, home, file)
        contents = _check(connection, home, source, spec, reading, UnreadColumns(spec))
        _judge(connection, home, spec)
        connection.execute("""
            create temp table unchanged as
            select refused.file_row, refused.verdict, refused.detail
            from refused
            inner join quarantined_rows as before on refused.file_row = before.file_row
            -- The row that contradicts this one was named when it was refused, and that stays true.
            where refused.verdict = before.reason
                and (
                    refused.detail is not distinct from before.detail
                    or refused.verdict in ('conflicting_duplicate', 'user_mismatch')
                )
            """)
        counts, example = _refusals(connection)
        connection.execute("delete from refused where file_row in (select file_row from unchanged)")
        changed_counts, _ = _refusals(connection)
        duplicates = counts.pop("duplicate", 0)
        changed_counts.pop("duplicate", 0)
        connection.execute("""
            create or replace temp view accepted as
            select * from checked
            where file_row not in (select file_row from refused union all select file_row from unchanged)""")
        ((accepted, first_at, last_at),) = _accepted(connection, spec)
        assert contents.received == accepted + duplicates + counts.total(), "every row is accepted, a duplicate or quarantined"
        counts.update(unchangeable)
        landed = LandedFile(
            file.file_name,
            file.file_id,
            contents.received + unchangeable.total(),
            accepted,
            duplicates,
            counts.total(),
            dict(sorted(counts.items())),
            starts_without=contents.starts_without,
            example=example or file.example,
        )
        changed = accepted + duplicates + changed_counts.total()
        if not changed:
            return landed
        source = replace(source, file_id=_retry_id(connection, file))
        if accepted:
            _write_accepted(connection, files, source, spec, contents)
        if changed_counts:
            _write_quarantine(connection, files, source, spec)
        _write_retried_rows(connection, files, source)
        recorded = replace(landed, received=changed, quarantined=changed_counts.total())
        sequence = len(landed_files(home)) + 1
        times = first_at, last_at
        _write_landed_file(files, source, spec, recorded, reading, sequence, times, retried_file_id=file.file_id)
    return replace(landed, landed_as=source.file_id)


def _retry_id(connection: duckdb.DuckDBPyConnection, file: QuarantinedFile) -> str:
    digest = hashlib.sha256(f"again\n{file.file_id}\n".encode())
    rows = connection.execute(f"{_CHANGED_ROWS} order by superseded_file_id, file_row")
    while batch := rows.fetchmany(10_000):
        digest.update("".join(f"{superseded} {row}\n" for row, superseded in batch).encode())
    return digest.hexdigest()


_CHANGED_ROWS = """
    select file_row, superseded_file_id from quarantined_rows
    where file_row not in (select file_row from unchanged)"""


def _write_retried_rows(connection: duckdb.DuckDBPyConnection, files: NewFiles, source: Source) -> None:
    written = files.file(files.home.raw / "retried_rows" / f"{source.file_id}.parquet")
    _copy(connection, f"select {quoted(source.file_id)} as file_id, * from ({_CHANGED_ROWS}) order by file_row", written)


def _judge(connection: duckdb.DuckDBPyConnection, home: Home, spec: Specification) -> None:
    """Table `refused`: rows that are not accepted, and why; view `accepted`: the others."""
    judge(connection, home, spec)
    connection.execute("""
        create temp table refused as
        select file_row, reason as verdict, detail from faulty
        union all
        select file_row, verdict, detail from judged where verdict <> 'accepted'""")
    _create_view_without(connection, "accepted", "refused")


def _refusals(connection: duckdb.DuckDBPyConnection) -> tuple[Counter[str], str]:
    """Refused rows by verdict, and what is wrong with the first of the most frequent reason."""
    counts = Counter[str](dict(connection.execute("select verdict, count(*) from refused group by 1").fetchall()))
    reasons = [(number, reason) for reason, number in counts.items() if reason != "duplicate"]
    if not reasons:
        return counts, ""
    most = max(reasons)[1]
    ((row, detail),) = connection.execute(
        "select file_row, detail from refused where verdict = ? order by file_row limit 1", [most]
    ).fetchall()
    return counts, f"{most}, line {row}: {detail}"


def _accepted(connection: duckdb.DuckDBPyConnection, spec: Specification) -> list[tuple[int, datetime | None, datetime | None]]:
    instant = spec.instant or "null::timestamptz"
    return connection.execute(f"select count(*), min({instant}), max({instant}) from accepted").fetchall()


def _check(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    source: Source,
    spec: Specification,
    reading: Reading,
    unread: UnreadColumns,
) -> Contents:
    """The file's rows, their types read, as `checked`; those with a fault and what it is as `faulty`; the others as `sound`."""
    with rows_of(connection, source, spec, unread) as rows:
        query = _with_derived_ids(spec, checked_query(spec, rows, reading))
        connection.execute(f"create temp {'view' if rows.can_be_read_again else 'table'} checked as {query}")
        contents = look_through(connection, spec)
        if rows.can_be_read_again and spec.partition is not None and contents.days > _FEW_DAYS:
            connection.execute("create temp table kept as from checked")
            connection.execute("create or replace temp view checked as from kept")
        # Where no row has a fault, as is usual, none is checked a second time.
        chosen = "reason is not null" if contents.faulty else "false"
        connection.execute(f"create temp table faulty as select file_row, reason, detail from checked where {chosen}")
        if spec.kind is Kind.CUSTOMERS and (refused := find_currency_changes(connection, home, reading.landed_at)):
            connection.executemany("insert into faulty values (?, ?, ?)", refused)
    _create_view_without(connection, "sound", "faulty")
    return contents


def _create_view_without(connection: duckdb.DuckDBPyConnection, name: str, left_out: str) -> None:
    """The rows of `checked` but for those of a table."""
    is_in = f"where not exists (select 1 from {left_out} where {left_out}.file_row = checked.file_row)"
    chosen = is_in if is_filled(connection, left_out) else ""
    connection.execute(f"create temp view {name} as select * from checked {chosen}")


def _with_derived_ids(spec: Specification, checked: str) -> str:
    """An event without an id gets one from its content, so that an exact repeat is the same event. Rules, section 3."""
    if spec.derived:
        return f"select *, {', '.join(f'{sql} as {name}' for name, sql in spec.derived)} from ({checked})"
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
        select * replace (coalesce(event_id, case when reason is null then {derived} end) as event_id)
        from ({checked})"""


@contextmanager
def _scratch(home: Home) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A database and a folder of this landing's own, on disk, so that memory stays flat; gone afterwards."""
    with scratch_folder(home, "land") as folder, duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set preserve_insertion_order = false")  # rows are numbered, and ordered where it matters
        connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
        connection.execute("set enable_progress_bar = false")  # it would be printed amid the output of --json
        connection.execute(f"set temp_directory = {quoted(folder / 'spill')}")
        connection.execute(MACROS)
        create_functions(connection)
        yield connection, folder


def _write_accepted(
    connection: duckdb.DuckDBPyConnection, files: NewFiles, source: Source, spec: Specification, contents: Contents
) -> None:
    """Accepted rows as Parquet; events and samples one file a day, sorted for the queries that follow."""
    collection = files.home.raw / spec.collection
    name = f"{source.file_id}.parquet"
    connection.execute(f"create type this_file as enum ({quoted(source.file_id)})")
    if spec.partition is None:
        rows = f"select {_columns(source, contents, spec.columns)} from accepted order by file_row"
        _copy(connection, rows, files.file(collection / name))
        return
    # So that the sort has less to carry, which halves its time: what no row has comes after it, and a column of few texts is
    # numbers meanwhile, in the order of the texts.
    for column in contents.words:
        connection.execute(
            f"create type words_of_{column} as enum ("
            f"select distinct {column} from checked where {column} is not null order by {column})"
        )
    sorted_as = ", ".join(
        f"{column}::words_of_{column} as {column}" if column in contents.words else column for column in contents.filled
    )
    days = connection.execute(f"select distinct epoch_us({spec.instant}) // {_DAY} as day from accepted order by day").fetchall()
    for (number,) in days:
        day = date(1970, 1, 1) + timedelta(days=number)
        rows = f"""
            select {_columns(source, contents, contents.filled)}
            from (
                select {sorted_as}, file_row
                from accepted
                where
                    {spec.instant} >= timestamptz '{day} 00:00:00+00'
                    and {spec.instant} < timestamptz '{day} 00:00:00+00' + interval 1 day
                order by sandbox_id, {spec.instant}, file_row
            )"""
        _copy(connection, rows, files.file(collection / f"{spec.partition}={day}" / name))


def _columns(source: Source, contents: Contents, carried: Sequence[str]) -> str:
    """Each column of a raw file, as SQL over the columns that are carried to it."""
    columns = [
        f"cast({column if column in carried else 'null'} as {type}) as {column}" for column, type in contents.types.items()
    ]
    # A text of a type that has no other is written as it is, and not looked up for every row.
    columns.append(f"{quoted(source.file_id)}::this_file as file_id")
    return ", ".join([*columns, "file_row"])


def _write_quarantine(connection: duckdb.DuckDBPyConnection, files: NewFiles, source: Source, spec: Specification) -> None:
    event_id = "checked.event_id" if spec.kind in (Kind.USAGE, Kind.VOIDS) else "null"
    written = files.file(files.home.raw / "quarantine" / f"{source.file_id}.parquet")
    header = quoted(csv_header_line(source)) if source.format.startswith("csv") else "null"
    with raw_rows(connection, source) as raw:
        _copy(
            connection,
            f"""
            select {quoted(source.file_id)} as file_id, {quoted(source.path.name)} as file_name, refused.file_row,
                {quoted(spec.kind)} as kind, refused.verdict as reason, refused.detail, raw.raw_row,
                cast({event_id} as varchar) as event_id, cast({header} as varchar) as header
            from refused
            inner join checked on refused.file_row = checked.file_row
            inner join ({raw}) as raw on refused.file_row = raw.file_row
            where refused.verdict <> 'duplicate'
            order by refused.file_row""",
            written,
        )


def _write_landed_file(
    files: NewFiles,
    source: Source,
    spec: Specification,
    landed: LandedFile,
    reading: Reading,
    sequence: int,
    first_and_last: tuple[datetime | None, datetime | None],
    *,
    retried_file_id: str | None = None,
) -> None:
    """The file's row in landed_files: once it is in its place, the file has landed."""
    first_at, last_at = first_and_last
    row = {
        "landed_sequence": sequence,
        "file_id": source.file_id,
        "file_name": source.path.name,
        "file_bytes": source.file_bytes,
        "kind": str(spec.kind),
        "format": source.format,
        "landed_at": reading.landed_at,
        "received_rows": landed.received,
        "accepted_rows": landed.accepted,
        "duplicate_rows": landed.duplicates,
        "quarantined_rows": landed.quarantined,
        "first_at": first_at,
        "last_at": last_at,
        "unread_columns": landed.unread_text,
        "retried_file_id": retried_file_id,
    }
    written = files.file(files.home.raw / "landed_files" / f"{sequence:08d}-{source.file_id}.parquet")
    pq.write_table(pa.Table.from_pylist([row], schema=SCHEMAS["landed_files"]), written)


def _copy(connection: duckdb.DuckDBPyConnection, rows: str, target: Path) -> None:
    # Level 1 is as small here as the higher ones, and takes a quarter less time.
    connection.execute(f"copy ({rows}) to {quoted(target)} (format parquet, compression zstd, compression_level 1)").fetchall()
