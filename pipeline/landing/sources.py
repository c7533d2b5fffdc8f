"""Reads a file's rows into the scratch database as text: one column a field, one row a row, whatever the format.

Text files are read as lines, so that each bad row is one row with its line number, and the good ones around it land.
A CSV cell may be quoted and hold commas, but not a line break.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputFileError
from pipeline.landing.specification import Field, Specification, Type

_BLOCK_BYTES = 8 << 20
_LONGEST_LINE = 64 << 20
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Source:
    """A file to land, looked at but not yet read."""

    path: Path
    file_id: str
    """SHA-256 of its bytes, in hex."""
    file_bytes: int
    format: str
    """jsonl, csv or parquet; the text formats with `.gz` where compressed."""


def examine(path: Path) -> Source:
    """Look at a file and hash it. Raises InputFileError where it is none that can be landed."""
    if not path.exists():
        raise InputFileError(path, "there is no such file.", "Check the path.")
    if path.is_dir():
        raise InputFileError(path, "is a folder.", f"Name the files in it, for example {path}/*.jsonl")
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    is_compressed = suffixes[-1:] == [".gz"]
    format = _SUFFIXES.get(suffixes[-2] if is_compressed and len(suffixes) > 1 else suffixes[-1] if suffixes else "")
    if format is None or (is_compressed and format == "parquet"):
        raise InputFileError(path, "is of no known format by its name.", "Name it .jsonl or .csv (also .gz), or .parquet.")
    try:
        with path.open("rb") as stream:
            file_id = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise InputFileError(path, f"cannot be read: {error.strerror}.", "Check its permissions.") from error
    if size == 0:
        raise InputFileError(path, "is empty: 0 bytes.", "Check that it was written to its end, and land it again.")
    return Source(path, file_id, size, format + (".gz" if is_compressed else ""))


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
    return (
        "select file_row_number + 1 as file_row, cast(to_json(columns) as varchar) as raw_row"
        f" from (select file_row_number, columns from read_parquet({_quoted(source.path)}, file_row_number = true) as columns)"
    )


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
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        what = "ends before its compressed data does" if isinstance(error, EOFError) else f"cannot be read ({error})"
        failure.append(
            InputFileError(
                source.path,
                f"{what}; nothing of it landed.",
                "Copy it again from where it comes from, and land it again.",
                line=row,
            )
        )
        raise


def _numbered(block: bytes, first_row: int) -> pa.RecordBatch:
    lines = pc.split_pattern(pa.array([block], pa.binary()), b"\n").flatten()
    rows = pa.array(range(first_row, first_row + len(lines)), pa.int64())
    return pa.RecordBatch.from_arrays([rows, lines], names=["file_row", "line"])


_DECODED = """
decoded as (
    select
        file_row,
        case
            when file_row = 1 then ltrim(try(decode(line)), chr(65279))
            else try(decode(line))
        end as text
    from lines
),
stripped as (
    select file_row, rtrim(text, chr(13)) as raw_row, text is null as is_undecodable
    from decoded
    where text is null or trim(text, ' ' || chr(9) || chr(13)) <> ''
)"""


def _jsonl_query(specification: Specification) -> str:
    """Each document is parsed once, for all of its paths."""
    paths = [(field.name, path) for field in specification.fields for path in (field.name, *field.paths)]
    listed = ", ".join(_quoted("$." + path) for _, path in paths)
    columns = []
    for field in specification.fields:
        found = [f"found[{place}]" for place, (name, _) in enumerate(paths, start=1) if name == field.name]
        columns.append(f"nullif(coalesce({', '.join(found)}, ''), '') as {_name(field)}")
    return f"""
        create or replace temp table source_rows as
        with {_DECODED},
        documents as (
            select
                file_row,
                coalesce(raw_row, '') as raw_row,
                case when json_valid(raw_row) and json_type(raw_row) = 'OBJECT' then raw_row end as document
            from stripped
        ),
        parsed as (
            select file_row, raw_row, document is null as is_unreadable, json_extract_string(document, [{listed}]) as found
            from documents
        )
        select file_row, raw_row, is_unreadable, {", ".join(columns)} from parsed"""


def _csv_header(source: Source, specification: Specification) -> list[str]:
    try:
        with _open(source) as stream:
            first = stream.readline(1 << 20).decode("utf-8", errors="replace").lstrip(_BYTE_ORDER_MARK).rstrip("\r\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputFileError(
            source.path,
            "ends before its compressed data does; nothing of it landed.",
            "Copy it again from where it comes from, and land it again.",
            line=1,
        ) from error
    header = [name.strip() for name in next(csv.reader([first]), [])]
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
    return header


def _csv_query(specification: Specification, header: list[str]) -> str:
    columns = []
    for field in specification.fields:
        places = [header.index(name) + 1 for name in (field.name, *field.paths) if name in header]
        found = ", ".join(f"cells[{place}]" for place in places)
        columns.append(f"nullif(coalesce({found or 'null'}, ''), '') as {_name(field)}")
    cell = '("(?:[^"]|"")*"|[^",]*),'
    return f"""
        create or replace temp table source_rows as
        with {_DECODED},
        split as (
            select
                file_row,
                coalesce(raw_row, '') as raw_row,
                case
                    when not contains(raw_row, '"') then string_split(raw_row, ',')
                    when regexp_full_match(raw_row || ',', '({cell})*') then list_transform(
                        regexp_extract_all(raw_row || ',', '{cell}', 1),
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
    except (pa.ArrowInvalid, OSError) as error:
        raise InputFileError(
            source.path,
            f"is no Parquet file that can be read ({str(error).splitlines()[0]}).",
            "Copy it again from where it comes from, and land it again.",
        ) from error
    columns = []
    for field in specification.fields:
        found = [_parquet_text(schema, path, field) for path in (field.name, *field.paths) if _has_path(schema, path)]
        if field.is_required and not found:
            raise InputFileError(
                source.path,
                f"has no column {field.name}; it has: {', '.join(schema.names)}.",
                "Write it with that column, and land it again.",
            )
        columns.append(f"nullif(coalesce({', '.join([*found, chr(39) * 2])}), '') as {_name(field)}")
    try:
        connection.execute(f"""
            create or replace temp table source_rows as
            select file_row_number + 1 as file_row, false as is_unreadable, {", ".join(columns)}
            from read_parquet({_quoted(source.path)}, file_row_number = true)""")
    except duckdb.Error as error:
        raise InputFileError(
            source.path,
            f"is no Parquet file that can be read to its end ({str(error).splitlines()[0]}).",
            "Copy it again from where it comes from, and land it again.",
        ) from error


def _has_path(schema: pa.Schema, path: str) -> bool:
    """Whether 'column' or 'struct.column' is in a Parquet file."""
    column, _, inner = path.partition(".")
    if column not in schema.names:
        return False
    if not inner:
        return not pa.types.is_struct(schema.field(column).type)
    type = schema.field(column).type
    return bool(pa.types.is_struct(type) and type.get_field_index(inner) >= 0)


def _parquet_text(schema: pa.Schema, path: str, field: Field) -> str:
    column = ".".join(f'"{part}"' for part in path.split("."))
    is_nested = pa.types.is_nested(schema.field(path.partition(".")[0]).type) and "." not in path
    if field.type is Type.JSON and is_nested:
        return f"cast(to_json({column}) as varchar)"
    return f"cast({column} as varchar)"


def _name(field: Field) -> str:
    return f'"{field.name}"'


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"
