"""A file's rows as a query: one column a field, one row a row, whatever the format.

Text files are read as lines, so that each bad row is one row with its line number, and the good ones around it land.
A CSV cell may be quoted and hold commas, but not a line break. Fields come as text, but for those columns of Parquet that have
the right type already: an instant or a number that was never text is not written out only to be read again.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb.func import PythonUDFType

from pipeline.core.errors import InputFileError
from pipeline.core.input_limits import ALWAYS_ALLOWED_ROWS, MAX_ROWS_PER_BYTE
from pipeline.core.sql import parquet_files, quoted
from pipeline.landing.arrow_types import convert_columns, fits, is_binary, is_json, needs_conversion, wanted_type
from pipeline.landing.checks import Rows
from pipeline.landing.exact_numbers import MAY_BE_TINY, MAY_LOSE_DIGITS, ExactNumbers
from pipeline.landing.files_to_land import Source
from pipeline.landing.lines import BYTE_ORDER_MARK, LINES, LineReader, open_text, unread
from pipeline.landing.specification import CLEARED_FIELDS, DECIMALS, Field, Specification, Type
from pipeline.landing.unread import GROUP_SEPARATOR, KEY_SEPARATOR, UnreadColumns

_LONGEST_HEADER = 1 << 20
_LONG_ROW = 1 << 14
_MOST_COMMAS = 1 << 14
"""A row of CSV without quotes that has more is no row."""
_IN_A_NEW_FILE = "Correct the row and land it in a new file."
_NOT_UTF_8 = f"The line is not UTF-8. {_IN_A_NEW_FILE}"
_CSV_CELLS = f"Put a cell with a comma or a quote in quotes; a cell holds no line break. {_IN_A_NEW_FILE}"


@contextmanager
def rows_of(
    connection: duckdb.DuckDBPyConnection, source: Source, specification: Specification, unread: UnreadColumns
) -> Iterator[Rows]:
    """The file's rows, to be read by one query inside the block, unless they say that they can be read again.

    The names of columns and keys that no field reads are in `unread` after the query. Raises InputFileError where the file cannot
    be read as a whole.
    """
    if source.format == "parquet":
        with _reading_parquet(source):
            yield _parquet_rows(connection, source, specification, unread)
    elif source.format.startswith("jsonl"):
        exact = ExactNumbers(specification)
        with _functions(connection, unread, exact), _lines(connection, source, exact):
            yield _jsonl_rows(specification, has_flat_keys=source.flat_keys)
    else:
        header = _csv_header(source, specification)
        unread.add(header)
        with _lines(connection, source):
            yield Rows(_csv_query(specification, header))


@contextmanager
def _functions(connection: duckdb.DuckDBPyConnection, unread: UnreadColumns, exact: ExactNumbers) -> Iterator[None]:
    """What the query of a file of JSON lines calls."""
    functions: dict[str, Any] = {"note_keys": unread.note_keys, "numbers_in_quotes": exact.column_in_quotes}
    for name, function in functions.items():
        connection.create_function(
            name,
            function,
            ["VARCHAR"],
            "BOOLEAN" if name == "note_keys" else "VARCHAR",
            type=PythonUDFType.ARROW,
            side_effects=name == "note_keys",
        )
    try:
        yield
    finally:
        for name in functions:
            connection.remove_function(name)


def readable(source: Source, folder: Path) -> Source:
    """The same, or with a copy in the folder to read instead, where Parquet has types that DuckDB does not read exactly."""
    if source.format != "parquet":
        return source
    schema = _parquet_schema(source)
    if not any(needs_conversion(column.type) for column in schema):
        return source
    copy = folder / "converted.parquet"
    try:
        convert_columns(source.path, copy)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unread_parquet(source, error) from error
    return replace(source, parquet=copy)


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
        raise _unread_parquet(source, error) from error


def _unread_parquet(source: Source, error: Exception) -> InputFileError:
    return InputFileError(
        source.path,
        f"is no Parquet file that can be read to its end ({str(error).splitlines()[0]}).",
        "Copy it again from where it comes from, and land it again.",
    )


def _parquet_schema(source: Source) -> pa.Schema:
    try:
        return pq.read_schema(source.path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputFileError(
            source.path,
            f"is no Parquet file that can be read ({str(error).splitlines()[0]}).",
            "Copy it again from where it comes from, and land it again.",
        ) from error


@contextmanager
def raw_rows(connection: duckdb.DuckDBPyConnection, source: Source) -> Iterator[str]:
    """A query for (file_row, raw_row), the rows as they came, to be read once inside the block: for the quarantine."""
    if source.format == "parquet":
        columns = ", ".join(
            f"{_name(column.name)} := {_as_json_value(_name(column.name), column.type)}" for column in _parquet_schema(source)
        )
        with _reading_parquet(source):
            yield f"""
                select file_row_number + 1 as file_row, cast(to_json(struct_pack({columns})) as varchar) as raw_row
                from {parquet_files(source.parquet or source.path)}"""
        return
    with _lines(connection, source):
        yield f"select file_row, coalesce({_WITHOUT_CARRIAGE_RETURN}, cast(no_text as varchar)) as raw_row from lines"


@contextmanager
def _lines(connection: duckdb.DuckDBPyConnection, source: Source, exact: ExactNumbers | None = None) -> Iterator[None]:
    """The file's lines as `lines` (lines.LINES), for one query, numbers in quotes where `exact` puts them there."""
    if source.lines is not None:
        line = f"case when regexp_matches(line, {quoted(MAY_LOSE_DIGITS)}) then numbers_in_quotes(line) else line end"
        replaced = f"replace ({line} as line)" if exact is not None else ""
        connection.execute(f"create or replace temp view lines as select * {replaced} from ({source.lines})")
        yield
        return
    reader = LineReader(source, exact)
    connection.register("lines", pa.RecordBatchReader.from_batches(LINES, reader.batches()))
    try:
        yield
    except duckdb.Error:
        if reader.failure is not None:
            raise reader.failure from None
        raise
    finally:
        connection.unregister("lines")


_WITHOUT_CARRIAGE_RETURN = "case when ends_with(line, chr(13)) then rtrim(line, chr(13)) else line end"
_STRIPPED = f"""
stripped as (
    select file_row, over_limit, {_WITHOUT_CARRIAGE_RETURN} as row
    from lines
    -- Lines of nothing but blanks are none. Whatever begins with a visible character is not one of them, which is soon seen.
    where line is null or over_limit is not null or ascii(line) > 32 or trim(line, ' ' || chr(9) || chr(13)) <> ''
)"""


def _first_of(places: Sequence[str], *, keep_empty: bool = False) -> str:
    """The first of several places where a value may be that has one; else '' where it is there and empty, if that is kept."""
    filled = [f"nullif({place}, '')" for place in places]
    return f"cast(coalesce({', '.join([*filled, *(places if keep_empty else ()), 'null'])}) as varchar)"


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


def _jsonl_rows(specification: Specification, *, has_flat_keys: bool) -> Rows:
    """Each document is parsed once, for all of its keys; an object inside it, where it has one, once more."""
    groups = sorted(specification.groups)
    paths = {path for field in specification.fields for path in (field.name, *field.paths)}
    keys = {path: "VARCHAR" for path in sorted(paths) if "." not in path or has_flat_keys} | dict.fromkeys(groups, "JSON")
    inside = {
        group: {path.removeprefix(f"{group}."): "VARCHAR" for path in sorted(paths) if path.startswith(f"{group}.")}
        for group in groups
    }
    objects = "".join(f", from_json(found.{_name(group)}, {_shape(inside[group])}) as {_name(group)}" for group in groups)
    columns, misfits = [], {}
    for field in specification.fields:
        places, paths_of_places = [], []
        for path in (field.name, *field.paths):
            if path in keys:
                places.append(f"found.{_name(path)}")
                paths_of_places.append(f"$.{_name(path)}")
            if "." in path:
                places.append(".".join(map(_name, path.split("."))))
                paths_of_places.append(f"$.{places[-1]}")
        value = _first_of(places, keep_empty=field.type is Type.ID)
        if field.type in (Type.RESOURCE, Type.QUANTITY, Type.AMOUNT):
            # A number that is too small for a float is 0 as one.
            is_tiny = f"{value} in ('0.0', '-0.0') and regexp_matches(row, {quoted(MAY_BE_TINY)})"
            exact = _first_of([f"(numbers_in_quotes(row) ->> {quoted(path)})" for path in paths_of_places])
            value = f"case when {is_tiny} then {exact} else {value} end"
        columns.append(f"{value} as {_name(field.name)}")
        if field.type is Type.ID:
            misfits[field.name] = _json_misfit("json_row", [field.name, *field.paths])
    wrong = " ".join(
        f"when not coalesce(starts_with(found.{_name(group)}, '{{'), true)"
        f" then {quoted(f'{group} is no JSON object. Write it as one, or its values beside it. {_IN_A_NEW_FILE}')}"
        for group in groups
    )
    cleared = _without_cleared(specification)
    if specification.is_merged and not has_flat_keys:  # a null of Parquet names nothing
        cleared = f", {_cleared_by_null(specification)} as {CLEARED_FIELDS}"
    query = f"""
        with {_STRIPPED},
        parsed as (
            select
                file_row,
                over_limit,
                row,
                -- Null where the line is no JSON at all.
                case
                    when ascii(row) = ascii('{{') or starts_with(ltrim(row, ' ' || chr(9)), '{{')
                        then try(from_json(row, {_shape(keys)}))
                end as found
            from stripped
        ),
        opened as (select file_row, over_limit, row, found{objects} from parsed)
        select
            file_row,
            over_limit,
            row as json_row,
            case
                when row is null then {quoted(_NOT_UTF_8)}
                when found is null then {quoted(f"The line is not one JSON object. Write one on each line. {_IN_A_NEW_FILE}")}
                {wrong}
                when {_noted_keys(groups)}
                    then {quoted(f"A key comes twice in one object. Write each key once. {_IN_A_NEW_FILE}")}
            end as unreadable,
            {", ".join(columns)}
            {cleared}
        from opened"""
    return Rows(query, carried=("json_row",), misfits=misfits)


def _noted_keys(groups: Sequence[str]) -> str:
    """SQL that hands a row's keys to UnreadColumns, those inside a group after the group's name; whether one comes twice."""
    shape = _keys_of("row")
    for group in groups:
        document = f"found.{_name(group)}"
        inside = f"{quoted(GROUP_SEPARATOR + group + KEY_SEPARATOR)} || {_keys_of(document)}"
        shape += f" || case when starts_with({document}, '{{') then {inside} else '' end"
    return f"note_keys({shape})"


def _keys_of(document: str) -> str:
    return f"array_to_string(json_keys({document}), {quoted(KEY_SEPARATOR)})"


def _json_misfit(document: str, keys: Sequence[str]) -> str:
    """Whether the first of these keys that has a value has another one than text or a whole number."""
    paths = [quoted('$."' + key + '"') for key in keys]
    chosen = " ".join(f"when coalesce({document} ->> {path}, '') <> '' then {_is_misfit(document, path)}" for path in paths)
    return f"case {chosen} else false end"


def _is_misfit(document: str, path: str) -> str:
    # Whole numbers of any length are fine, and beyond 64 bits they are DOUBLE to DuckDB.
    return (
        f"json_type({document}, {path}) in ('OBJECT', 'ARRAY', 'BOOLEAN', 'DOUBLE')"
        f" and not regexp_full_match({document} ->> {path}, '-?[0-9]+')"
    )


def _shape(keys: dict[str, str]) -> str:
    """An object's keys and their types, as `from_json` wants them."""
    return quoted(json.dumps(keys))


def csv_header_line(source: Source) -> str:
    """The first line of a CSV file."""
    if source.header is not None:
        return source.header
    try:
        with open_text(source) as stream:
            return stream.readline(_LONGEST_HEADER).removeprefix(BYTE_ORDER_MARK).decode("utf-8", errors="replace").rstrip("\r\n")
    except (EOFError, zlib.error, OSError) as error:
        raise unread(source, error, row=1) from error


def _csv_header(source: Source, specification: Specification) -> list[str]:
    first = csv_header_line(source)
    try:
        header = [name.strip() for name in next(csv.reader([first]), [])]
    except csv.Error as error:
        raise InputFileError(
            source.path,
            f"the header cannot be read ({error}).",
            "Write one row on each line, the first the names of the columns, delimited by commas.",
            line=1,
        ) from error
    twice = [name for name, times in Counter(header).items() if times > 1 and name]
    if twice:
        raise InputFileError(
            source.path,
            f"has a column twice: {', '.join(twice)}.",
            "Write each column once: which of the two counts is not for us to guess.",
            line=1,
        )
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
    _check_groups(source, specification, dict.fromkeys(header, "text"))
    return header


def _check_groups(source: Source, specification: Specification, columns: Mapping[str, str]) -> None:
    """Refuse a column, of a type, whose values would go unseen, since they are known by the names inside it."""
    for group in specification.groups & columns.keys():
        inside = [path for field in specification.fields for path in field.paths if path.startswith(f"{group}.")]
        raise InputFileError(
            source.path,
            f"has a column {group} of the type {columns[group]}, which cannot be read.",
            f"Write its values as columns of their own: {', '.join(inside)}.",
            line=1,
        )


def _csv_query(specification: Specification, header: list[str]) -> str:
    columns = []
    for field in specification.fields:
        places = [header.index(name) + 1 for name in (field.name, *field.paths) if name in header]
        columns.append(f"{_first_of([f'cells[{place}]' for place in places])} as {_name(field.name)}")
    cell = '("(?:[^"]|"")*"|[^",]*),'
    return f"""
        with {_STRIPPED},
        split as (
            select
                file_row,
                over_limit,
                row,
                case
                    -- A long row of nothing but commas would take gigabytes to split.
                    when
                        strlen(row) > {_LONG_ROW}
                        and not contains(row, '"')
                        and strlen(row) - strlen(replace(row, ',', '')) >= {_MOST_COMMAS}
                        then null
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
            over_limit,
            case
                when row is null then {quoted(_NOT_UTF_8)}
                when cells is null then {quoted(f"The line's quotes are not in pairs, or it is too long. {_CSV_CELLS}")}
                when len(cells) <> {len(header)}
                    then 'The line has ' || len(cells) || {quoted(f" cells, and the header {len(header)} columns. {_CSV_CELLS}")}
            end as unreadable,
            {", ".join(columns)}{_without_cleared(specification)}
        from split"""


def _parquet_rows(
    connection: duckdb.DuckDBPyConnection, source: Source, specification: Specification, unread: UnreadColumns
) -> Rows:
    schema = _parquet_schema(source)
    _check_size(source)
    names = schema.names
    if not all(map(_has_names, schema)):
        raise InputFileError(source.path, "has a column without a name.", "Give each column a name, and land it again.")
    repeated = [name for name, times in Counter(name.lower() for name in [*names, "file_row_number"]).items() if times > 1]
    if repeated:
        raise InputFileError(
            source.path,
            f"has a column too many: {', '.join(repeated)}.",
            "Write each column once, whatever its case, and none named file_row_number.",
        )
    opaque = {
        column.name: str(column.type)
        for column in schema
        if not (pa.types.is_struct(column.type) or pa.types.is_null(column.type))
    }
    _check_groups(source, specification, opaque)
    for column in schema:
        unread.add(
            [f"{column.name}.{inner.name}" for inner in column.type]
            if column.name in specification.groups and pa.types.is_struct(column.type)
            else [column.name]
        )
    columns, typed, misfits, undecoded, wrong, json_columns = [], set(), {}, [], [], []
    for field in specification.fields:
        places = [place for path in (field.name, *field.paths) if (place := _parquet_place(schema, path))]
        if field.is_required and not places:
            raise InputFileError(
                source.path,
                f"has no column {field.name}; it has: {', '.join(names)}.",
                "Write it with that column, and land it again.",
            )
        wrong += [(field, place) for place in places if not fits(field, place.type)]
        undecoded += [f"({place.sql} is not null and {place.decoded} is null)" for place in places if is_binary(place.type)]
        if field.type is Type.ID and (of_json := [place for place in places if is_json(place.type)]):
            # Its place among several is not looked at: no two of them are JSON in any file that was ever seen.
            json_columns.append(f"{of_json[0].sql} as {_name(f'json of {field.name}')}")
            misfits[field.name] = _is_misfit(_name(f"json of {field.name}"), "'$'")
        if len(places) == 1 and _is_typed(field, places[0].type):
            typed.add(field.name)
            columns.append(f"{places[0].sql} as {_name(field.name)}")
        else:
            texts = [place.as_text(field) for place in places]
            columns.append(f"{_first_of(texts, keep_empty=field.type is Type.ID)} as {_name(field.name)}")
    files = parquet_files(source.parquet or source.path)
    _check_types(connection, source, files, wrong)
    unreadable = f"case when {' or '.join(undecoded)} then {quoted(_NOT_UTF_8)} end" if undecoded else "null::varchar"
    query = f"""
        select
            file_row_number + 1 as file_row,
            cast(null as varchar) as over_limit,
            {unreadable} as unreadable,
            {", ".join([*json_columns, *columns])}{_without_cleared(specification)}
        from {files}"""
    carried = tuple(_name(f"json of {name}") for name in misfits)
    return Rows(query, frozenset(typed), can_be_read_again=True, carried=carried, misfits=misfits)


def _check_size(source: Source) -> None:
    """Refuse a file of more rows than its bytes can hold unless they are all alike: a few kilobytes may say a billion of them."""
    try:
        rows = pq.read_metadata(source.path).num_rows
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unread_parquet(source, error) from error
    most = max(ALWAYS_ALLOWED_ROWS, MAX_ROWS_PER_BYTE * source.file_bytes)
    if rows > most:
        raise InputFileError(
            source.path,
            f"has {rows:,} rows in {source.file_bytes:,} bytes; nothing of it landed.",
            f"Check what is in it. A file of that size may have {most:,} rows.",
        )


def _has_names(column: pa.Field) -> bool:
    """Whether a column and all fields of its structs have names: DuckDB can ask for no other."""
    type = column.type
    return bool(column.name) and (not pa.types.is_struct(type) or all(map(_has_names, type)))


def _check_types(
    connection: duckdb.DuckDBPyConnection, source: Source, files: str, wrong: Sequence[tuple[Field, _Place]]
) -> None:
    """Refuse a file with values in a column whose type cannot be what the field is; one without any is as one that is absent."""
    for field, place in wrong:
        # A data frame writes a column of text without any value as floats that are not a number.
        is_value = f"cast({place.sql} as varchar) <> 'nan'" if pa.types.is_floating(place.type) else "true"
        ((count,),) = connection.execute(f"select count({place.sql}) filter ({is_value}) from {files}").fetchall()
        if count:
            raise InputFileError(
                source.path,
                f"has a column {place.path} of the type {place.type}, which is not {wanted_type(field)}.",
                f"Write {field.name} as {wanted_type(field)}.",
            )


@dataclass(frozen=True)
class _Place:
    """A column of a Parquet file, or one inside a struct."""

    path: str
    sql: str
    type: pa.DataType

    def as_text(self, field: Field) -> str:
        if pa.types.is_null(self.type):
            return "cast(null as varchar)"
        if is_binary(self.type):
            return self.decoded
        if is_json(self.type) and field.type is not Type.JSON:
            written = f"trim(cast({self.sql} as varchar))"  # a number as a float would lose digits
            return f"case when regexp_full_match({written}, '[-+0-9.eE]+') then {written} else {self.sql} ->> '$' end"
        if field.type is Type.JSON and pa.types.is_nested(self.type):
            return f"cast(to_json({self.sql}) as varchar)"
        return f"cast({self.sql} as varchar)"

    @property
    def decoded(self) -> str:
        """Bytes as the UTF-8 that they are; null where they are none."""
        return f"try(decode({self.sql}))"


def _parquet_place(schema: pa.Schema, path: str) -> _Place | None:
    if path in schema.names:
        return _Place(path, _name(path), schema.field(path).type)
    outer, _, inner = path.partition(".")
    if outer not in schema.names or not pa.types.is_struct(schema.field(outer).type):
        return None
    struct = schema.field(outer).type
    place = struct.get_field_index(inner)
    return _Place(path, f"{_name(outer)}.{_name(inner)}", struct.field(place).type) if place >= 0 else None


def _as_json_value(sql: str, type: pa.DataType) -> str:
    """A value as the quarantine keeps it: bytes as text, and a float of 32 bits as the number that it is written as."""
    if is_binary(type):
        return f"coalesce(try(decode({sql})), cast({sql} as varchar))"
    if pa.types.is_float32(type):
        return f"cast(cast({sql} as varchar) as double)"
    if pa.types.is_struct(type) and type.num_fields:
        inside = ", ".join(f"{_name(inner.name)} := {_as_json_value(f'{sql}.{_name(inner.name)}', inner.type)}" for inner in type)
        return f"case when {sql} is not null then struct_pack({inside}) end"
    return sql


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
