"""The rows of a Parquet file, as a query with one column per field.

Columns that already have a field's type are read as they are. Other columns are read as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import InputFileError
from pipeline.core.input_limits import ALWAYS_ALLOWED_ROWS, MAX_ROWS_PER_BYTE
from pipeline.core.sql import parquet_list, quoted
from pipeline.landing.arrow_types import convert_columns, fits, is_binary, is_json, needs_conversion, wanted_type
from pipeline.landing.input_files import InputFile
from pipeline.landing.query_parts import (
    NOT_UTF_8,
    RowsQuery,
    first_filled,
    is_id_type_error,
    no_cleared_fields,
    quoted_name,
    reject_group_columns,
)
from pipeline.landing.row_numbers import FILE_BITS, NumberedFiles
from pipeline.landing.specification import DECIMALS, Field, Specification, Type

_DOCUMENTS = (Type.JSON, Type.ID_LIST)
"""Types whose values are objects or arrays."""
_VIRTUAL_COLUMNS = frozenset({"file_index", "file_row_number", "filename"})
"""Columns that DuckDB adds to the rows of Parquet files. A column of a file with such a name, in any case, hides its own."""


def with_exact_types(file: InputFile, folder: Path) -> InputFile:
    """The file; if it is Parquet with types that DuckDB does not read exactly, with a converted copy in `folder`."""
    if file.format != "parquet":
        return file
    schema = _parquet_schema(file)
    if not any(needs_conversion(column.type) for column in schema):
        return file
    copy = folder / f"{file.file_id}.parquet"
    try:
        convert_columns(file.path, copy)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _parquet_error(file, error) from error
    return replace(file, parquet=copy)


@contextmanager
def reading_parquet(files: NumberedFiles) -> Iterator[None]:
    """Convert an error of DuckDB in the block to an InputFileError of the first file."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        if isinstance(error, duckdb.IOException) and not any(str(file.path) in str(error) for file in files.values()):
            raise  # the disk of the home failed, not a file
        raise _parquet_error(_first(files), error) from error


def _first(files: NumberedFiles) -> InputFile:
    return next(iter(files.values()))


def parquet_layout(file: InputFile) -> Hashable:
    """What Parquet files must have in common to be read by one query: their columns and types."""
    try:
        with pq.ParquetFile(file.path) as opened:
            stored = [opened.schema.column(place) for place in range(len(opened.schema))]
            # The types of Arrow do not tell how a value is stored: an instant may be INT96.
            types = tuple((column.path, column.physical_type, str(column.logical_type)) for column in stored)
            return types, opened.schema_arrow.to_string(show_field_metadata=True, show_schema_metadata=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _parquet_error(file, error) from error


def bytes_if_groupable(file: InputFile, max_rows: int) -> int | None:
    """The bytes of a Parquet file's pages, decompressed. None if it cannot be read together with other files.

    That is: it has more than `max_rows` rows, or a column hides the one of DuckDB that says which file a row is from.
    """
    metadata = pq.read_metadata(file.path)
    names = {name.lower() for name in metadata.schema.to_arrow_schema().names}
    if metadata.num_rows > max_rows or names & _VIRTUAL_COLUMNS:
        return None
    return sum(int(metadata.row_group(place).total_byte_size) for place in range(metadata.num_row_groups))


def _rows_of(files: NumberedFiles) -> tuple[str, str]:
    """SQL that reads the rows of files of one layout, and SQL for the number of a row."""
    rows = parquet_list([file.parquet or file.path for file in files.values()], by_name=False)
    starts = [number << FILE_BITS for number in files]
    start = f"{starts}[file_index::bigint + 1] + " if len(starts) > 1 else f"{starts[0]} + " if starts[0] else ""
    return rows, f"{start}file_row_number + 1"


def _parquet_error(file: InputFile, error: Exception) -> InputFileError:
    return InputFileError(
        file.path,
        f"is not a readable Parquet file ({str(error).splitlines()[0]}).",
        "Copy it again from its source, and land it again.",
    )


def _parquet_schema(file: InputFile) -> pa.Schema:
    try:
        return pq.read_schema(file.path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _parquet_error(file, error) from error


def unread_names(file: InputFile, specification: Specification) -> list[str]:
    """The names of a Parquet file's columns; of a column that is a group of fields, those of its fields."""
    names = []
    for column in _parquet_schema(file):
        is_group = column.name in specification.groups and pa.types.is_struct(column.type)
        names += [f"{column.name}.{inner.name}" for inner in column.type] if is_group else [column.name]
    return names


def parquet_rows(connection: duckdb.DuckDBPyConnection, files: NumberedFiles, specification: Specification) -> RowsQuery:
    """The query for the rows of Parquet files of one layout, numbered through.

    Raises InputFileError, of the first file, if a column is missing, repeated or of a wrong type.
    """
    file = _first(files)
    names = check_columns(files)
    schema = _parquet_schema(file)
    opaque = {
        column.name: str(column.type)
        for column in schema
        if not (pa.types.is_struct(column.type) or pa.types.is_null(column.type))
    }
    reject_group_columns(file, specification, opaque)
    columns, typed, id_type_errors, undecoded, wrong, json_columns = [], set(), {}, [], [], []
    for field in specification.fields:
        places = [place for path in (field.name, *field.paths) if (place := _parquet_place(schema, path))]
        if field.is_required and not places:
            raise InputFileError(
                file.path,
                f"has no column {field.name}; it has: {', '.join(names)}.",
                "Add the column, and land the file again.",
            )
        wrong += [(field, place) for place in places if not fits(field, place.type)]
        undecoded += [f"({place.sql} is not null and {place.decoded} is null)" for place in places if is_binary(place.type)]
        if field.type is Type.ID and (of_json := [place for place in places if is_json(place.type)]):
            # Only the first JSON column is checked: a field is not in two JSON columns of one file.
            json_columns.append(f"{of_json[0].sql} as {quoted_name(f'json of {field.name}')}")
            id_type_errors[field.name] = is_id_type_error(quoted_name(f"json of {field.name}"), "'$'")
        if len(places) == 1 and _is_typed(field, places[0].type):
            typed.add(field.name)
            columns.append(f"{places[0].sql} as {quoted_name(field.name)}")
        else:
            texts = [place.as_text(field) for place in places]
            columns.append(f"{first_filled(texts, keep_empty=field.type is Type.ID)} as {quoted_name(field.name)}")
    read, number = _rows_of(files)
    _check_types(connection, file, read, wrong)
    unreadable = f"case when {' or '.join(undecoded)} then {quoted(NOT_UTF_8)} end" if undecoded else "null::varchar"
    query = f"""
        select
            {number} as file_row,
            cast(null as varchar) as over_limit,
            {unreadable} as unreadable,
            {", ".join([*json_columns, *columns])}{no_cleared_fields(specification)}
        from {read}"""
    carried = tuple(quoted_name(f"json of {name}") for name in id_type_errors)
    return RowsQuery(query, frozenset(typed), can_be_read_again=True, carried=carried, id_type_errors=id_type_errors)


def check_columns(files: NumberedFiles) -> list[str]:
    """The columns of Parquet files of one layout.

    Raises InputFileError if one has no name, or is repeated, or a file has too many rows.
    """
    for each in files.values():
        _check_size(each)
    file = _first(files)
    schema = _parquet_schema(file)
    if not all(map(_has_names, schema)):
        raise InputFileError(file.path, "has a column without a name.", "Name each column, and land the file again.")
    names: list[str] = schema.names
    repeated = [name for name, times in Counter(name.lower() for name in [*names, "file_row_number"]).items() if times > 1]
    if repeated:
        raise InputFileError(
            file.path,
            f"has repeated or reserved columns: {', '.join(repeated)}.",
            "Write each column once (case is ignored), and none named file_row_number.",
        )
    return names


def _check_size(file: InputFile) -> None:
    """Raise InputFileError for a file with too many rows for its size: a few kilobytes can encode a billion equal rows."""
    try:
        rows = pq.read_metadata(file.path).num_rows
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _parquet_error(file, error) from error
    maximum = max(ALWAYS_ALLOWED_ROWS, MAX_ROWS_PER_BYTE * file.file_bytes)
    if rows > maximum:
        raise InputFileError(
            file.path,
            f"has {rows:,} rows in {file.file_bytes:,} bytes; none of them landed.",
            f"Check its content. A file of that size may have {maximum:,} rows.",
        )


def _has_names(column: pa.Field) -> bool:
    """Whether a column and all fields of its structs have names; DuckDB cannot select others."""
    type = column.type
    return bool(column.name) and (not pa.types.is_struct(type) or all(map(_has_names, type)))


def _check_types(
    connection: duckdb.DuckDBPyConnection, file: InputFile, files: str, wrong: Sequence[tuple[Field, _Place]]
) -> None:
    """Raise InputFileError for a column of a wrong type, unless it has no values."""
    for field, place in wrong:
        # pandas writes a text column without values as NaN floats.
        is_value = f"cast({place.sql} as varchar) <> 'nan'" if pa.types.is_floating(place.type) else "true"
        ((count,),) = connection.execute(f"select count({place.sql}) filter ({is_value}) from {files}").fetchall()
        if count:
            raise InputFileError(
                file.path,
                f"has a column {place.path} of type {place.type}, which is not {wanted_type(field)}.",
                f"Write {field.name} as {wanted_type(field)}.",
            )


@dataclass(frozen=True)
class _Place:
    """A column of a Parquet file, or a field of a struct column."""

    path: str
    sql: str
    type: pa.DataType

    def as_text(self, field: Field) -> str:
        if pa.types.is_null(self.type):
            return "cast(null as varchar)"
        if is_binary(self.type):
            return self.decoded
        if is_json(self.type) and field.type not in _DOCUMENTS:
            written = f"trim(cast({self.sql} as varchar))"  # read as text, since a float would lose digits
            return f"case when regexp_full_match({written}, '[-+0-9.eE]+') then {written} else {self.sql} ->> '$' end"
        if field.type in _DOCUMENTS and pa.types.is_nested(self.type):
            return f"cast(to_json({self.sql}) as varchar)"
        return f"cast({self.sql} as varchar)"

    @property
    def decoded(self) -> str:
        """Bytes decoded as UTF-8; null if they are not UTF-8."""
        return f"try(decode({self.sql}))"


def _parquet_place(schema: pa.Schema, path: str) -> _Place | None:
    if path in schema.names:
        return _Place(path, quoted_name(path), schema.field(path).type)
    outer, _, inner = path.partition(".")
    if outer not in schema.names or not pa.types.is_struct(schema.field(outer).type):
        return None
    struct = schema.field(outer).type
    place = struct.get_field_index(inner)
    return _Place(path, f"{quoted_name(outer)}.{quoted_name(inner)}", struct.field(place).type) if place >= 0 else None


def _as_json_value(sql: str, type: pa.DataType) -> str:
    """A value as the quarantine stores it: bytes as text, and a 32-bit float as its shortest decimal."""
    if is_binary(type):
        return f"coalesce(try(decode({sql})), cast({sql} as varchar))"
    if pa.types.is_float32(type):
        return f"cast(cast({sql} as varchar) as double)"
    if pa.types.is_struct(type) and type.num_fields:
        inside = ", ".join(
            f"{quoted_name(inner.name)} := {_as_json_value(f'{sql}.{quoted_name(inner.name)}', inner.type)}" for inner in type
        )
        return f"case when {sql} is not null then struct_pack({inside}) end"
    return sql


def _is_typed(field: Field, type: pa.DataType) -> bool:
    """Whether the column's values equal what its text would be read as. Floats never do, since their text is rounded."""
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


def parquet_raw_rows(files: NumberedFiles) -> str:
    """A query for (file_row, raw_row) of files of one layout, with the rows as JSON, for the quarantine."""
    columns = ", ".join(
        f"{quoted_name(column.name)} := {_as_json_value(quoted_name(column.name), column.type)}"
        for column in _parquet_schema(_first(files))
    )
    read, number = _rows_of(files)
    return f"select {number} as file_row, cast(to_json(struct_pack({columns})) as varchar) as raw_row from {read}"
