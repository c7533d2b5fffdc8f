"""A file's rows as a query: one column a field, one row a row, whatever the format.

Text files are read as lines, so that each bad row is one row with its line number, and the good ones around it land.
A CSV cell may be quoted and hold commas, but not a line break. Fields come as text, but for those columns of Parquet that have
the right type already: an instant or a number that was never text is not written out only to be read again.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputFileError
from pipeline.inbox import version
from pipeline.kinds import Kind
from pipeline.landing.checks import Rows, parquet_files
from pipeline.landing.specification import CLEARED_FIELDS, DECIMALS, Field, Specification, Type
from pipeline.sql import quoted

_BLOCK_BYTES = 8 << 20
_LONGEST_LINE = 64 << 20
_LONG_ROW = 1 << 20
_MOST_COMMAS = 1 << 20
"""A row of CSV with more, in cells or between them, is no row."""
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_BYTE_ORDER_MARK = codecs.BOM_UTF8


@dataclass(frozen=True)
class Source:
    """A file to land, looked at but not yet read."""

    path: Path
    file_id: str
    """SHA-256 of its bytes, in hex. For records, their kind goes first: what landed as the wrong kind may land as the right."""
    file_bytes: int
    format: str
    """jsonl, csv or parquet; the text formats with `.gz` where compressed."""
    version: tuple[int, ...] | None
    """Which file it was when its bytes were hashed, and of which time."""


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
    seen = version(path)
    try:
        with path.open("rb") as stream:
            prefix = b"" if kind is Kind.USAGE else f"{kind}\n".encode()
            file_id = hashlib.file_digest(stream, lambda: hashlib.sha256(prefix)).hexdigest()
            size = stream.tell()
    except OSError as error:
        raise InputFileError(path, f"cannot be read: {error.strerror}.", "Check its permissions.") from error
    if size == 0:
        raise InputFileError(path, "is empty: 0 bytes.", "Check that it was written to its end, and land it again.")
    return Source(path, file_id, size, format + (".gz" if is_compressed else ""), seen)


@contextmanager
def while_unchanged(source: Source) -> Iterator[None]:
    """Raise InputFileError where somebody wrote to the file before the block's end: what was read is not what was hashed."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError):
        _check_unchanged(source)  # which may be why it could not be read
        raise
    _check_unchanged(source)


def _check_unchanged(source: Source) -> None:
    if version(source.path) != source.version:
        raise InputFileError(
            source.path,
            "was written to while it was read; nothing of it landed.",
            "Write it under a name that begins with a dot, rename it when it is whole, and land it again.",
        )


def _check_is_file(path: Path) -> None:
    if not path.exists():
        raise InputFileError(path, "there is no such file.", "Check the path.")
    if path.is_dir():
        raise InputFileError(path, "is a folder.", f"Name the files in it, for example {path}/*.jsonl")
    if not path.is_file():
        raise InputFileError(path, "is a pipe or a device.", "Write its rows to a file, and land that.")


@contextmanager
def rows_of(connection: duckdb.DuckDBPyConnection, source: Source, specification: Specification) -> Iterator[Rows]:
    """The file's rows, to be read by one query inside the block, unless they say that they can be read again.

    Raises InputFileError where the file cannot be read as a whole.
    """
    if source.format == "parquet":
        rows = _parquet_rows(source, specification)
        with _reading_parquet(source):
            yield rows
    elif source.format.startswith("jsonl"):
        with _lines(connection, source):
            yield Rows(_jsonl_query(specification))
    else:
        query = _csv_query(specification, _csv_header(source, specification))
        with _lines(connection, source):
            yield Rows(query)


@contextmanager
def _reading_parquet(source: Source) -> Iterator[None]:
    """Tell plainly of a file that cannot be read to its end, whichever of its columns it is."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        if isinstance(error, duckdb.IOException) and str(source.path) not in str(error):
            raise  # it is the home's disk that failed
        raise InputFileError(
            source.path,
            f"is no Parquet file that can be read to its end ({str(error).splitlines()[0]}).",
            "Copy it again from where it comes from, and land it again.",
        ) from error


@contextmanager
def raw_rows(connection: duckdb.DuckDBPyConnection, source: Source) -> Iterator[str]:
    """A query for (file_row, raw_row), the rows as they came, to be read once inside the block: for the quarantine."""
    if source.format == "parquet":
        columns = ", ".join(f"{name} := {name}" for name in map(_name, pq.read_schema(source.path).names))
        with _reading_parquet(source):
            yield f"""
                select file_row_number + 1 as file_row, cast(to_json(struct_pack({columns})) as varchar) as raw_row
                from {parquet_files(source.path)}"""
        return
    with _lines(connection, source):
        yield f"select file_row, coalesce({_WITHOUT_CARRIAGE_RETURN}, cast(no_text as varchar)) as raw_row from lines"


@contextmanager
def _lines(connection: duckdb.DuckDBPyConnection, source: Source) -> Iterator[None]:
    """The file's lines as `lines(file_row, line, no_text)`, for one query. No UTF-8: it is in `no_text`, `line` is null."""
    failure: list[InputFileError] = []
    connection.register("lines", pa.RecordBatchReader.from_batches(_LINES, _line_batches(source, failure)))
    try:
        yield
    except duckdb.Error:
        if failure:
            raise failure[0] from None
        raise
    finally:
        connection.unregister("lines")


def _open(source: Source) -> IO[bytes]:
    return gzip.open(source.path) if source.format.endswith(".gz") else source.path.open("rb")  # type: ignore[return-value]


def _line_batches(source: Source, failure: list[InputFileError]) -> Iterator[pa.RecordBatch]:
    """The file's lines, numbered from 1, in batches. What goes wrong is left in `failure`, since the caller is DuckDB."""
    row = 1
    carried = b""
    try:
        with _open(source) as stream:
            carried = stream.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)
            while chunk := stream.read(_BLOCK_BYTES):
                block = carried + chunk
                end = block.rfind(b"\n")
                if end < 0:
                    carried = block
                    if len(carried) > _LONGEST_LINE:
                        raise InputFileError(source.path, "has a line of over 64 MB.", "Write one row on each line.", line=row)
                    continue
                carried = block[end + 1 :]
                batch = _numbered(block, end, row)
                row += batch.num_rows
                yield batch
            if carried:
                yield _numbered(carried, len(carried), row)
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


def _numbered(block: bytes, end: int, first_row: int) -> pa.RecordBatch:
    """The lines of a block up to `end`. That the block is not copied to be split is felt."""
    bounds = np.array([0, end], dtype=np.int32)
    whole = pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(bounds), pa.py_buffer(block)])
    lines = pc.split_pattern(whole, b"\n").flatten()
    rows = pa.array(np.arange(first_row, first_row + len(lines), dtype=np.int64))
    try:
        text, no_text = lines.cast(pa.string()), pa.nulls(len(lines), pa.binary())
    except pa.ArrowInvalid:
        # One line of the block, or more, is no UTF-8: only then is each looked at by itself.
        values = lines.to_pylist()
        text = pa.array([_decoded(value) for value in values], pa.string())
        no_text = pa.array(
            [value if known is None else None for value, known in zip(values, text.to_pylist(), strict=True)], pa.binary()
        )
    return pa.RecordBatch.from_arrays([rows, text, no_text], schema=_LINES)


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


_LINES = pa.schema({"file_row": pa.int64(), "line": pa.string(), "no_text": pa.binary()})
_WITHOUT_CARRIAGE_RETURN = "case when ends_with(line, chr(13)) then rtrim(line, chr(13)) else line end"
_STRIPPED = f"""
stripped as (
    select file_row, {_WITHOUT_CARRIAGE_RETURN} as row
    from lines
    -- Lines of nothing but blanks are none. Whatever begins with a visible character is not one of them, which is soon seen.
    where line is null or ascii(line) > 32 or trim(line, ' ' || chr(9) || chr(13)) <> ''
)"""


def _first_of(places: Iterable[str]) -> str:
    """The first of several places where a value may be that has one."""
    filled = [f"nullif({place}, '')" for place in places]
    return f"cast(coalesce({', '.join([*filled, 'null'])}) as varchar)"


def _cleared_by_null(specification: Specification) -> str:
    """The fields whose key is there and null, as SQL over a JSON row: a list delimited by commas, or null where there is none."""
    is_null = "coalesce(json_type(row, {path}) = 'NULL', false)"
    names = [
        f"case when {' or '.join(is_null.format(path=quoted(f'$.{_name(path)}')) for path in (field.name, *field.paths))}"
        f" then {quoted(field.name)} end"
        for field in specification.fields
    ]
    return f"case when json_valid(row) then nullif(concat_ws(',', {', '.join(names)}), '') end"


def _without_cleared(specification: Specification) -> str:
    """The column `cleared_fields` of a format whose rows cannot say that a value is taken away."""
    return f", cast(null as varchar) as {CLEARED_FIELDS}" if specification.is_merged else ""


def _jsonl_query(specification: Specification) -> str:
    """Each document is parsed once, for all of its keys; an object inside it, where it has one, once more."""
    groups = sorted(specification.groups)
    paths = {path for field in specification.fields for path in (field.name, *field.paths)}
    keys = {path: "VARCHAR" for path in sorted(paths) if "." not in path} | dict.fromkeys(groups, "JSON")
    inside = {
        group: {path.removeprefix(f"{group}."): "VARCHAR" for path in sorted(paths) if path.startswith(f"{group}.")}
        for group in groups
    }
    objects = "".join(f", from_json(found.{_name(group)}, {_shape(inside[group])}) as {_name(group)}" for group in groups)
    wrong = "".join(f" or not coalesce(starts_with(found.{_name(group)}, '{{'), true)" for group in groups)
    columns = []
    for field in specification.fields:
        places = [".".join(map(_name, path.split("."))) for path in (field.name, *field.paths)]
        columns.append(f"{_first_of(p if '.' in p else f'found.{p}' for p in places)} as {_name(field.name)}")
    return f"""
        with {_STRIPPED},
        parsed as (
            select
                file_row,
                {f"{_cleared_by_null(specification)} as {CLEARED_FIELDS}," if specification.is_merged else ""}
                -- Null where the line is no JSON at all.
                case
                    when ascii(row) = ascii('{{') or starts_with(ltrim(row, ' ' || chr(9)), '{{')
                        then try(from_json(row, {_shape(keys)}))
                end as found
            from stripped
        ),
        opened as (select * exclude (found), found{objects} from parsed)
        select
            file_row,
            found is null{wrong} as is_unreadable,
            {", ".join(columns)}
            {f", {CLEARED_FIELDS}" if specification.is_merged else ""}
        from opened"""


def _shape(keys: dict[str, str]) -> str:
    """An object's keys and their types, as `from_json` wants them."""
    return quoted(json.dumps(keys))


def _csv_header(source: Source, specification: Specification) -> list[str]:
    try:
        with _open(source) as stream:
            first = stream.readline(1 << 20).removeprefix(_BYTE_ORDER_MARK).decode("utf-8", errors="replace").rstrip("\r\n")
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
        with {_STRIPPED},
        split as (
            select
                file_row,
                case
                    -- A long row of nothing but commas would take gigabytes to split.
                    when strlen(row) > {_LONG_ROW} and strlen(row) - strlen(replace(row, ',', '')) >= {_MOST_COMMAS} then null
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
            coalesce(len(cells) <> {len(header)}, true) as is_unreadable,
            {", ".join(columns)}{_without_cleared(specification)}
        from split"""


def _parquet_rows(source: Source, specification: Specification) -> Rows:
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
    columns, typed = [], set()
    for field in specification.fields:
        places = [place for path in (field.name, *field.paths) if (place := _parquet_place(schema, path))]
        if field.is_required and not places:
            raise InputFileError(
                source.path,
                f"has no column {field.name}; it has: {', '.join(names)}.",
                "Write it with that column, and land it again.",
            )
        if len(places) == 1 and _is_typed(field, places[0].type):
            typed.add(field.name)
            columns.append(f"{places[0].sql} as {_name(field.name)}")
        else:
            columns.append(f"{_first_of(place.as_text(field) for place in places)} as {_name(field.name)}")
    query = (
        f"select file_row_number + 1 as file_row, false as is_unreadable, {', '.join(columns)}{_without_cleared(specification)}"
        f" from {parquet_files(source.path)}"
    )
    return Rows(query, frozenset(typed), can_be_read_again=True)


@dataclass(frozen=True)
class _Place:
    """A column of a Parquet file, or one inside a struct."""

    sql: str
    type: pa.DataType

    def as_text(self, field: Field) -> str:
        if field.type is Type.JSON and pa.types.is_nested(self.type):
            return f"cast(to_json({self.sql}) as varchar)"
        return f"cast({self.sql} as varchar)"


def _parquet_place(schema: pa.Schema, path: str) -> _Place | None:
    if path in schema.names:
        return _Place(_name(path), schema.field(path).type)
    outer, _, inner = path.partition(".")
    if outer not in schema.names or not pa.types.is_struct(schema.field(outer).type):
        return None
    struct = schema.field(outer).type
    place = struct.get_field_index(inner)
    return _Place(f"{_name(outer)}.{_name(inner)}", struct.field(place).type) if place >= 0 else None


def _is_typed(field: Field, type: pa.DataType) -> bool:
    """Whether a column needs no reading, since its values are those that its text would be read as. No float is what it looks."""
    if field.choices or field.default is not None:
        return False
    match field.type:
        case Type.INSTANT:
            return bool(pa.types.is_timestamp(type)) and type.unit != "ns"
        case Type.RESOURCE | Type.QUANTITY | Type.AMOUNT:
            return bool(pa.types.is_integer(type)) or (pa.types.is_decimal128(type) and 0 <= type.scale <= DECIMALS)
        case Type.INTEGER:
            return bool(pa.types.is_integer(type))
    return False


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
