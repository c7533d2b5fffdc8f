"""The process that runs the selects of sources: it can read and write one scratch folder, in limited memory.

Started by select_rows.py as a script. It imports nothing of Billhouse, gets no environment but what Python needs, and is killed
if it takes too long. One request a line of standard input, one answer a line of standard output, both JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

_MAX_FAILING_ROWS = 1000
_MAX_JOINED_ROWS = 1000
"""Rows of a file that one result may be joined from: the quarantine stores their text together."""
_FILE_BITS = 34
"""As in row_numbers."""
_MAX_RUNS = 5000
"""Runs of a select to find the rows that fail it."""
_SOURCE_IS_WRONG = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException, duckdb.PermissionException)
_NESTED = ("STRUCT", "MAP", "UNION")


class SourceError(Exception):
    """The select is wrong for all rows."""


def main() -> None:
    """Answer requests until standard input ends."""
    limits = json.loads(sys.argv[1])
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limits["address_space"], limits["address_space"]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # not on this system; DuckDB's own limit remains
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _answer(request, limits["memory"])
        except SourceError as error:
            answer = {"error": str(error)}
        except (duckdb.Error, MemoryError) as error:
            answer = {"error": _message(error)}
        print(json.dumps(answer), flush=True)


@dataclass(frozen=True)
class _File:
    """A file whose rows are selected from, alone."""

    start: int
    """The number before that of its first row."""
    name: str
    columns: Sequence[str]
    """Keys of its rows that the select finds as columns too."""
    first_row: int
    last_row: int

    @property
    def is_one_of_its_rows(self) -> str:
        """SQL: whether a row of table `all_rows` is of this file."""
        return f"file_row between {self.start + self.first_row} and {self.start + self.last_row}"


def _answer(request: dict[str, Any], memory: str) -> dict[str, Any]:
    folder = Path(request["folder"])
    failures: dict[int, str] = {}
    with duckdb.connect(
        config={"threads": "1", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    ) as connection:
        # One thread: the order of rows, and so which of two equal rows is the first, is the same in every run.
        _prepare(connection, request, folder, memory)
        wrapped: dict[tuple[str, ...], str] = {}
        for file in _files(connection, request):
            columns = tuple(file.columns)
            if columns not in wrapped:
                _show_rows(connection, file, file.first_row, file.last_row)
                wrapped[columns] = _wrapped(connection, request)
            failures |= _run(connection, file, wrapped[columns], request["max_rows"])
            connection.execute(
                "insert into selected_rows"
                f" select place, list_transform(file_rows, lambda row: row + {file.start}), row from result_rows"
            )
        output = folder / "selected.parquet"
        connection.execute(f"copy (select * from selected_rows) to '{_escaped(output)}' (format parquet)")
    return {"output": str(output), "failures": sorted(failures.items())}


def _prepare(connection: duckdb.DuckDBPyConnection, request: dict[str, Any], folder: Path, memory: str) -> None:
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(f"set memory_limit = '{memory}'")
    connection.execute("set max_temp_directory_size = '20GB'")
    connection.execute(f"set temp_directory = '{_escaped(folder / 'spill')}'")
    connection.execute("set enable_progress_bar = false")
    connection.execute("set python_enable_replacements = false")
    connection.execute("create table failed_rows (file_row bigint)")
    connection.execute("create table selected_rows (place bigint, file_rows bigint[], row varchar)")
    connection.execute(
        f"create table all_rows as select file_row, row::json as row from read_parquet('{_escaped(Path(request['input']))}')"
        " order by file_row"
    )
    connection.execute(f"set allowed_directories = ['{_escaped(folder)}/']")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _files(connection: duckdb.DuckDBPyConnection, request: dict[str, Any]) -> list[_File]:
    found = connection.execute(
        f"select (file_row >> {_FILE_BITS}) << {_FILE_BITS}, min(file_row), max(file_row) from all_rows group by 1"
    ).fetchall()
    ranges = {start: (first - start, last - start) for start, first, last in found}
    return [_File(start, name, columns, *ranges.get(start, (0, 0))) for start, name, columns in request["files"]]


def _show_rows(connection: duckdb.DuckDBPyConnection, file: _File, first: int, last: int, *, has_failed: bool = False) -> None:
    """Let the view `rows` have a range of a file's rows, numbered from 1, without those that failed."""
    file_name = file.name.replace("'", "''")
    columns = "".join(
        f", row ->> '$.{_quoted(name).replace(chr(39), chr(39) * 2)}' as {_quoted(name)}"
        for name in _usable_columns(file.columns)
    )
    others = f" and file_row - {file.start} not in (select file_row from failed_rows)" if has_failed else ""
    connection.execute(f"""
        create or replace view rows as
        select file_row - {file.start} as file_row, '{file_name}' as file_name, row{columns}
        from all_rows
        where file_row between {file.start + first} and {file.start + last}{others}""")


def _usable_columns(names: Sequence[str]) -> list[str]:
    """The columns of a file that can be columns of `rows`; the others are keys of `row` alone."""
    usable: dict[str, str] = {}
    for name in names:
        if name and not set(name) & set('"\\*') and name.lower() not in ("file_row", "file_name", "row"):
            usable.setdefault(name.lower(), name)
    return list(usable.values())


def _wrapped(connection: duckdb.DuckDBPyConnection, request: dict[str, Any]) -> str:
    """The select, as a query for (place, file_rows, row): the rows as JSON objects of text."""
    sql = request["sql"]
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SourceError("It must be one select, and nothing else.")
        sql = sql.rstrip().removesuffix(";")
        described = connection.execute(f"describe select * from (\n{sql}\n)").fetchall()
    except SourceError:
        raise
    except duckdb.Error as error:
        raise SourceError(_message(error)) from error
    types = {str(name): str(type) for name, type, *_ in described}
    _check_columns(types, request["fields"], request["required"])
    parts = []
    for name, type in types.items():
        if name == "file_row":
            continue
        column = _quoted(name)
        is_json = type == "JSON" or type.endswith("[]") or type.startswith(_NESTED)
        value = f"to_json({column})" if is_json else f"to_json(cast({column} as varchar))"
        parts.append(f"case when {column} is not null then '{json.dumps(name)}:' || cast({value} as varchar) end")
    is_joined = types["file_row"].endswith("[]")
    file_rows = "list_sort(list_distinct(file_row::bigint[]))" if is_joined else "[file_row::bigint]"
    return f"""
        select row_number() over () as place, {file_rows} as file_rows, '{{' || concat_ws(',', {", ".join(parts)}) || '}}' as row
        from (\n{sql}\n) as "rows of the source" """


def _check_columns(types: dict[str, str], fields: list[str], required: list[list[str]]) -> None:
    if types.get("file_row") not in ("BIGINT", "BIGINT[]", "INTEGER", "INTEGER[]"):
        raise SourceError(
            "The select must give file_row, the number of the row that each result is from; where it joins rows,"
            " list(file_row) as file_row."
        )
    unknown = [name for name in types if name != "file_row" and name not in fields]
    if unknown:
        raise SourceError(
            f"The select gives {', '.join(unknown)}, which this kind does not have. Its columns: {', '.join(fields)}."
        )
    missing = [names[0] for names in required if not set(names) & types.keys()]
    if missing:
        raise SourceError(f"The select gives no column {', '.join(missing)}, which every row of this kind has.")
    inexact = [f"{name} as {type}" for name, type in types.items() if "DOUBLE" in type or "FLOAT" in type]
    if inexact:
        raise SourceError(
            f"The select gives {', '.join(inexact)}, which is not exact. Cast numbers to decimal before the calculation, for"
            " example: (row ->> '$.memory_mb')::decimal(18, 6) * 0.0009765625."
        )


def _run(connection: duckdb.DuckDBPyConnection, file: _File, wrapped: str, max_rows: int) -> dict[int, str]:
    """Create table `result_rows` from all rows of a file but those that fail. Returns the errors of these by their number."""
    failures: dict[int, str] = {}
    while True:
        error = _try(connection, file, wrapped, file.first_row, file.last_row, has_failed=bool(failures))
        if error is not None:
            found = _failing_rows(connection, file, wrapped)
            if not found:
                raise SourceError(error)  # each row alone can be selected from
        else:
            ((most_from_one, empty, most_joined),) = connection.execute("""
                select max(count), sum(empty), max(joined)
                from (
                    select count(*) as count, count(*) filter (coalesce(len(file_rows), 0) = 0) as empty,
                        max(len(file_rows)) as joined
                    from result_rows group by file_rows[1]
                )""").fetchall()
            found = {}
            if (most_from_one or 0) > max_rows:
                found = dict(
                    connection.execute(
                        "select file_rows[1], 'It makes ' || count(*) || ' rows of this one. At most "
                        f"{max_rows:,} are allowed.' from result_rows group by all having count(*) > {max_rows}"
                    ).fetchall()
                )
        if not found:
            break
        failures |= found
        connection.executemany("insert into failed_rows values (?)", [[row] for row in found])
    if failures:
        connection.execute("delete from failed_rows")
    ((wrong,),) = connection.execute(
        "select count(*) from (select unnest(file_rows) as file_row from result_rows)"
        f" where file_row is null or file_row not in"
        f" (select file_row - {file.start} from all_rows where {file.is_one_of_its_rows})"
    ).fetchall()
    if wrong or empty:
        raise SourceError("The select gives a file_row that is no row of the file. Take it from rows, unchanged.")
    if (most_joined or 0) > _MAX_JOINED_ROWS:
        raise SourceError(f"The select joins {most_joined:,} rows to one. At most {_MAX_JOINED_ROWS:,} are allowed.")
    return {file.start + row: error for row, error in failures.items()}


def _try(
    connection: duckdb.DuckDBPyConnection, file: _File, wrapped: str, first: int, last: int, *, has_failed: bool
) -> str | None:
    """Run the select on a range of rows, into table `result_rows`. Returns the error, if rows may have caused it."""
    _show_rows(connection, file, first, last, has_failed=has_failed)
    try:
        connection.execute(f"create or replace temp table result_rows as {wrapped}")
    except _SOURCE_IS_WRONG as error:
        raise SourceError(_message(error)) from error
    except (duckdb.Error, MemoryError) as error:
        return _message(error)
    return None


def _failing_rows(connection: duckdb.DuckDBPyConnection, file: _File, wrapped: str) -> dict[int, str]:
    """By file row, the errors of the rows that fail alone, found by halving. After many runs, whole ranges count as failing."""
    rows = [
        row
        for (row,) in connection.execute(
            f"select distinct file_row - {file.start} from all_rows where {file.is_one_of_its_rows} order by 1"
        ).fetchall()
    ]
    known = {row for (row,) in connection.execute("select file_row from failed_rows").fetchall()}
    rows = [row for row in rows if row not in known]
    failures: dict[int, str] = {}
    pending, runs = [rows] if rows else [], 0
    while pending:
        block = pending.pop()
        error = _try(connection, file, wrapped, block[0], block[-1], has_failed=bool(known))
        runs += 1
        if error is None:
            continue
        if len(block) == 1 or runs > _MAX_RUNS or len(failures) > _MAX_FAILING_ROWS:
            failures |= dict.fromkeys(block, error)
        else:
            middle = len(block) // 2
            pending += [block[middle:], block[:middle]]
    return failures


def _message(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]


def _escaped(path: Path) -> str:
    return str(path).replace("'", "''")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


if __name__ == "__main__":
    main()
