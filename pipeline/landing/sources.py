"""Reads a file's rows into the scratch database as text: one column a field, one row a row, whatever the format.

Text files are read as lines, so that each bad row is one row with its line number, and the good ones around it land.
A CSV cell may be quoted and hold commas, but not a line break.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputFileError
from pipeline.kinds import Kind
from pipeline.landing.checks import parquet_files
from pipeline.landing.specification import Field, Specification, Type
from pipeline.sql import quoted

_BLOCK_BYTES = 8 << 20
_LONGEST_LINE = 64 << 20
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Source:
    """A file to land, looked at but not yet read."""

    path: Path
    file_id: str
    """SHA-256 of its bytes, in hex. For records, their kind goes first: what landed as the wrong kind may land as the right."""
    file_bytes: int
    format: str
    """jsonl, csv or parquet; the text formats with `.gz` where compressed."""


def examine(path: Path, kind: Kind) -> Source:
    """Look at a file and hash it. Raises InputFileError where it is none that can be landed."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise InputFileError(shown, "has a name that is not UTF-8.", "Give it another name.") from None
    try:
        _check_is_file(path)
    except OSError as error:
        raise InputFileError(path, f"cannot be read: {error.strerror}.", "Check its name and its permissions.") from error
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    is_compressed = suffixes[-1:] == [".gz"]
    format = _SUFFIXES.get(suffixes[-2] if is_compressed and len(suffixes) > 1 else suffixes[-1] if suffixes else "")
    if format is None or (is_compressed and format == "parquet"):
        raise InputFileError(path, "is of no known format by its name.", "Name it .jsonl or .csv (also .gz), or .parquet.")
    try:
        with path.open("rb") as stream:
            prefix = b"" if kind is Kind.USAGE else f"{kind}\n".encode()
            file_id = hashlib.file_digest(stream, lambda: hashlib.sha256(prefix)).hexdigest()
            size = stream.tell()
    except OSError as error:
        raise InputFileError(path, f"cannot be read: {error.strerror}.", "Check its permissions.") from error
    if size == 0:
        raise InputFileError(path, "is empty: 0 bytes.", "Check that it was written to its end, and land it again.")
    return Source(path, file_id, size, format + (".gz" if is_compressed else ""))


def _check_is_file(path: Path) -> None:
    if not path.exists():
        raise InputFileError(path, "there is no such file.", "Check the path.")
    if path.is_dir():
        raise InputFileError(path, "is a folder.", f"Name the files in it, for example {path}/*.jsonl")
    if not path.is_file():
        raise InputFileError(path, "is a pipe or a device.", "Write its rows to a file, and land that.")


def read_source(connection: duckdb.DuckDBPyConnection, source: Source, specification: Specification) -> None:
    """Fill table `source_rows(file_row, raw_row, is_unreadable, <a text column a field>)`.

    Raises InputFileError where the file cannot be read as a whole.
    """
    if source.format == "parquet":
        _read_parquet(connection, source, specification)
        return
    failure: list[InputFileError] = []
    lines = _line_batches(source, failure)
    reader = pa.RecordBatchReader.from_batches(pa.schema({"file_row": pa.int64(), "line": pa.binary()}), lines)
    connection.register("lines", reader)
    try:
        if source.format.startswith("jsonl"):
            connection.execute(_jsonl_query(specification))
        else:
            connection.execute(_csv_query(specification, _csv_header(source, specification)))
    except duckdb.Error:
        if failure:
            raise failure[0] from None
        raise
    finally:
        connection.unregister("lines")


def raw_rows_query(source: Source) -> str:
    """A query for (file_row, raw_row) of the rows as they came, for the quarantine."""
    if source.format != "parquet":
        return "select file_row, raw_row from source_rows"
    columns = ", ".join(f"{name} := {name}" for name in map(_name, pq.read_schema(source.path).names))
    return f"""
        select file_row_number + 1 as file_row, cast(to_json(struct_pack({columns})) as varchar) as raw_row
        from {parquet_files(source.path)}"""


def _open(source: Source) -> IO[bytes]:
    return gzip.open(source.path) if source.format.endswith(".gz") else source.path.open("rb")  # type: ignore[return-value]


def _line_batches(source: Source, failure: list[InputFileError]) -> Iterator[pa.RecordBatch]:
    """The file's lines, numbered from 1, in batches. What goes wrong is left in `failure`, since the caller is DuckDB."""
    row = 1
    carried = b""
    try:
        with _open(source) as stream:
            while chunk := stream.read(_BLOCK_BYTES):
                block = carried + chunk
                end = block.rfind(b"\n")
                if end < 0:
                    carried = block
                    if len(carried) > _LONGEST_LINE:
                        raise InputFileError(source.path, "has a line of over 64 MB.", "Write one row on each line.", line=row)
                    continue
                carried = block[end + 1 :]
                batch = _numbered(block[:end], row)
                row += batch.num_rows
                yield batch
            if carried:
                yield _numbered(carried, row)
    except InputFileError as error:
        failure.append(error)
        raise
    except (EOFError, zlib.error, OSError) as error:
        failure.append(_unread(source, error, row))
        raise


def _unread(source: Source, error: Exception, row: int) -> InputFileError:
    what = "ends before its compressed data does" if isinstance(error, EOFError) else f"cannot be read ({error})"
    return InputFileError(
        source.path,
        f"{what}; nothing of it landed.",
        "Copy it again from where it comes from, and land it again.",
        line=row,
    )


def _numbered(block: bytes, first_row: int) -> pa.RecordBatch:
    lines = pc.split_pattern(pa.array([block], pa.binary()), b"\n").flatten()
    rows = pa.array(range(first_row, first_row + len(lines)), pa.int64())
    return pa.RecordBatch.from_arrays([rows, lines], names=["file_row", "line"])


_DECODED = """
decoded as (
    select
        file_row,
        line,
        case
            when file_row = 1 then ltrim(try(decode(line)), chr(65279))
            else try(decode(line))
        end as text
    from lines
),
stripped as (
    select file_row, rtrim(text, chr(13)) as row, coalesce(row, cast(line as varchar)) as raw_row
    from decoded
    where text is null or trim(text, ' ' || chr(9) || chr(13)) <> ''
)"""
"""`row` is null where the line is no UTF-8; `raw_row` then shows its bytes."""


def _first_of(places: Iterable[str]) -> str:
    """The first of several places where a value may be that has one."""
    filled = [f"nullif({place}, '')" for place in places]
    return f"cast(coalesce({', '.join([*filled, 'null'])}) as varchar)"


def _jsonl_query(specification: Specification) -> str:
    """Each document is parsed once, for all of its paths."""
    paths = [(field.name, path) for field in specification.fields for path in (field.name, *field.paths)]
    listed = ", ".join(quoted("$." + path) for _, path in paths)
    columns = []
    for field in specification.fields:
        found = [f"found[{place}]" for place, (name, _) in enumerate(paths, start=1) if name == field.name]
        columns.append(f"{_first_of(found)} as {_name(field.name)}")
    wrong = [f"or json_type(document, {quoted('$.' + group)}) not in ('OBJECT', 'NULL')" for group in specification.groups]
    return f"""
        create or replace temp table source_rows as
        with {_DECODED},
        documents as (
            select file_row, raw_row, case when json_valid(row) and json_type(row) = 'OBJECT' then row end as document
            from stripped
        ),
        parsed as (
            select
                file_row,
                raw_row,
                coalesce(document is null {" ".join(wrong)}, false) as is_unreadable,
                json_extract_string(document, [{listed}]) as found
            from documents
        )
        select file_row, raw_row, is_unreadable, {", ".join(columns)} from parsed"""


def _csv_header(source: Source, specification: Specification) -> list[str]:
    try:
        with _open(source) as stream:
            first = stream.readline(1 << 20).decode("utf-8", errors="replace").lstrip(_BYTE_ORDER_MARK).rstrip("\r\n")
    except (EOFError, zlib.error, OSError) as error:
        raise _unread(source, error, row=1) from error
    try:
        header = [name.strip() for name in next(csv.reader([first]), [])]
    except csv.Error as error:
        raise InputFileError(
            source.path,
            f"the header cannot be read ({error}).",
            "Write one row on each line, the first the names of the columns, delimited by commas.",
            line=1,
        ) from error
    missing = [field for field in specification.fields if field.is_required and not {field.name, *field.paths} & set(header)]
    if missing:
        other = next((mark for mark in ";\t|" if mark in first and "," not in first), None)
        shown = {"\t": "tab"}.get(other or "", f"'{other}'")
        raise InputFileError(
            source.path,
            f"the header has no column {', '.join(field.name for field in missing)}; it reads: {first[:200]}",
            f"It seems to be delimited by {shown}: write it with commas."
            if other
            else "Give it a header line that names them, delimited by commas.",
            line=1,
        )
    _check_groups(source, specification, header)
    return header


def _check_groups(source: Source, specification: Specification, columns: Iterable[str]) -> None:
    """Refuse a column whose values would go unseen, since they are known by the names inside it."""
    for group in specification.groups & set(columns):
        inside = [path for field in specification.fields for path in field.paths if path.startswith(f"{group}.")]
        raise InputFileError(
            source.path,
            f"has a column {group} that cannot be read.",
            f"Write its values as columns of their own: {', '.join(inside)}.",
            line=1,
        )


def _csv_query(specification: Specification, header: list[str]) -> str:
    columns = []
    for field in specification.fields:
        places = [header.index(name) + 1 for name in (field.name, *field.paths) if name in header]
        columns.append(f"{_first_of(f'cells[{place}]' for place in places)} as {_name(field.name)}")
    cell = '("(?:[^"]|"")*"|[^",]*),'
    return f"""
        create or replace temp table source_rows as
        with {_DECODED},
        split as (
            select
                file_row,
                raw_row,
                case
                    when not contains(row, '"') then string_split(row, ',')
                    when regexp_full_match(row || ',', '({cell})*') then list_transform(
                        regexp_extract_all(row || ',', '{cell}', 1),
                        lambda quoted: case
                            when starts_with(quoted, '"') then replace(quoted[2:-2], '""', '"')
                            else quoted
                        end
                    )
                end as cells
            from stripped
            where file_row > 1
        )
        select
            file_row,
            raw_row,
            coalesce(len(cells) <> {len(header)}, true) as is_unreadable,
            {", ".join(columns)}
        from split"""


def _read_parquet(connection: duckdb.DuckDBPyConnection, source: Source, specification: Specification) -> None:
    try:
        schema = pq.read_schema(source.path)
        names = schema.names
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputFileError(
            source.path,
            f"is no Parquet file that can be read ({str(error).splitlines()[0]}).",
            "Copy it again from where it comes from, and land it again.",
        ) from error
    repeated = [name for name, times in Counter(name.lower() for name in [*names, "file_row_number"]).items() if times > 1]
    if repeated:
        raise InputFileError(
            source.path,
            f"has a column too many: {', '.join(repeated)}.",
            "Write each column once, whatever its case, and none named file_row_number.",
        )
    opaque = [column.name for column in schema if not (pa.types.is_struct(column.type) or pa.types.is_null(column.type))]
    _check_groups(source, specification, opaque)
    columns = []
    for field in specification.fields:
        found = [text for path in (field.name, *field.paths) if (text := _parquet_text(schema, path, field))]
        if field.is_required and not found:
            raise InputFileError(
                source.path,
                f"has no column {field.name}; it has: {', '.join(names)}.",
                "Write it with that column, and land it again.",
            )
        columns.append(f"{_first_of(found)} as {_name(field.name)}")
    try:
        connection.execute(f"""
            create or replace temp table source_rows as
            select file_row_number + 1 as file_row, false as is_unreadable, {", ".join(columns)}
            from {parquet_files(source.path)}""")
    except duckdb.Error as error:
        raise InputFileError(
            source.path,
            f"is no Parquet file that can be read to its end ({str(error).splitlines()[0]}).",
            "Copy it again from where it comes from, and land it again.",
        ) from error


def _parquet_text(schema: pa.Schema, path: str, field: Field) -> str | None:
    """A column, or one inside a struct, as text; None where there is none."""
    if path in schema.names:
        column = f'"{path}"'
        if field.type is Type.JSON and pa.types.is_nested(schema.field(path).type):
            return f"cast(to_json({column}) as varchar)"
        return f"cast({column} as varchar)"
    outer, _, inner = path.partition(".")
    if outer not in schema.names or not pa.types.is_struct(schema.field(outer).type):
        return None
    return f'cast("{outer}"."{inner}" as varchar)' if schema.field(outer).type.get_field_index(inner) >= 0 else None


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
