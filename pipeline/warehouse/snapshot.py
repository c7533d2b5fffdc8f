"""Publishes the report tables for analysts, as billhouse.duckdb and as Parquet files in marts/, after a successful build.

Both are replaced by rename: a reader that has the old files open keeps reading them. A report that grows with time is written in
parts, by day or by month (pipeline.warehouse.report_tables). `build_state.report_parts` in the warehouse says which build last
wrote each part; billhouse.duckdb has a copy of that table, and a part is written again only where the two differ. A report whose
model did not run in this build is not written at all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb

from pipeline.core.files import replace_atomically
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.sql import quoted, rows_as_dictionaries
from pipeline.store.scratch_folders import scratch_folder
from pipeline.warehouse.report_tables import ReportTable, report_tables

_FORMER_FILE = "billing.duckdb"
"""The name of the analysts' file in homes of earlier versions."""
_STORAGE = "v1.2.0"
"""The oldest DuckDB that can read the analysts' file: DBeaver and other tools bring a driver of their own, often an older one."""
_STORAGE_NUMBER = 65
"""Its number in the header of a file (https://duckdb.org/docs/stable/internals/storage)."""
_WRITERS = min(os.cpu_count() or 1, 4)
"""Files that are written at the same time; each needs some 100 MB."""


def publish_snapshot(home: Home, project: Path = PROJECT_ROOT, *, built: Collection[str] | None = None) -> dict[str, int]:
    """Replace billhouse.duckdb (with column comments) and marts/ with the warehouse's report tables; returns the rows of each.

    `built`: the reports that this build has written; the others are those of the last build. Default: all.
    """
    tables = report_tables(project)
    reports = [tables[name] for name in sorted(tables)]
    with scratch_folder(home, "snapshot") as folder:
        scratch = folder / "snapshot.duckdb"
        if _is_partitioned(home):
            shutil.copyfile(home.analysts_file, scratch)
        with duckdb.connect(str(scratch), config={"storage_compatibility_version": _STORAGE}) as connection:
            connection.execute("set global TimeZone = 'UTC'")  # of all cursors
            # With this optimizer, whether a Parquet column is declared nullable depends on statistics of rows long deleted.
            connection.execute("set disabled_optimizers = 'statistics_propagation'")
            connection.execute(f"attach {quoted(home.warehouse)} as warehouse (read_only)")
            connection.execute("create schema if not exists billing")
            connection.execute("create schema if not exists written")
            connection.execute("create table if not exists written.parts (report varchar, part date, written_by varchar)")
            existing = _tables(connection)
            rows = {}
            for report in reports:
                if built is None or report.name in built or report.name not in existing or not _has_files(home, report):
                    with _transaction(connection):
                        changed = _copy_report(connection, report)
                    _write_files(home, connection, report, changed)
                rows[report.name] = _count(connection, report)
            connection.execute(
                "create or replace table written.parts as select report, part, written_by from warehouse.build_state.report_parts"
            )
            connection.execute(
                "comment on table written.parts is 'The build that last wrote each part of a report; read by the next build.'"
            )
            connection.execute("detach warehouse")
            connection.execute("checkpoint")
            _write_balances(home, connection)
        scratch.chmod(0o440)
        os.replace(scratch, home.analysts_file)
    (home.path / _FORMER_FILE).unlink(missing_ok=True)
    _remove_leftovers(home, reports)
    return rows


def _is_partitioned(home: Home) -> bool:
    """Whether there is a readable copy in this storage format with its table of parts, so that unchanged parts can be reused."""
    try:
        with home.analysts_file.open("rb") as file:
            header = file.read(20)
        with duckdb.connect(str(home.analysts_file), read_only=True) as connection:
            connection.execute("select count(*) from written.parts").fetchall()
    except (FileNotFoundError, duckdb.Error):
        return False
    return int.from_bytes(header[12:], "little") == _STORAGE_NUMBER


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """One write to disk for a table and its comments instead of one for each. An error leaves the scratch file to be removed."""
    connection.execute("begin")
    yield
    connection.execute("commit")


def _tables(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """The reports in the copy of the last snapshot."""
    found = connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'billing' and database_name = current_database()"
    )
    return frozenset(name for (name,) in found.fetchall())


def _has_files(home: Home, report: ReportTable) -> bool:
    """Whether the report's Parquet file is there. Files of parts are checked one by one."""
    file = home.marts / f"{report.name}.parquet"
    return report.part is None and file.exists() and file.stat().st_size > 0


def _copy_report(connection: duckdb.DuckDBPyConnection, report: ReportTable) -> Collection[date]:
    """Copy a report, or its parts that changed; returns those parts."""
    if report.part is None:
        _copy_table(connection, report)
        return ()
    return _copy_parts(connection, report)


def _copy_table(connection: duckdb.DuckDBPyConnection, report: ReportTable) -> None:
    rows = f"select * from warehouse.billing.{report.name} order by {report.order_by}"
    connection.execute(f"create or replace table billing.{report.name} as {rows}")
    comments = [f"comment on table billing.{report.name} is {quoted(report.description)}"]
    comments += [
        f'comment on column billing.{report.name}."{column.name}" is {quoted(column.description)}' for column in report.columns
    ]
    connection.execute("; ".join(comments))


def _copy_parts(connection: duckdb.DuckDBPyConnection, report: ReportTable) -> Collection[date]:
    written = _writers(connection, "written.parts", report)
    found = _writers(connection, "warehouse.build_state.report_parts", report)
    changed = sorted(part for part in written.keys() | found.keys() if written.get(part) != found.get(part))
    if len(changed) >= len(found):
        _copy_table(connection, report)
    else:
        for part in changed:
            connection.execute(f"delete from billing.{report.name} {report.rows_of(part)}")
            arriving = f"select * from warehouse.billing.{report.name} {report.rows_of(part)} order by {report.order_by}"
            connection.execute(f"insert into billing.{report.name} {arriving}")
    return changed


def _write_files(home: Home, connection: duckdb.DuckDBPyConnection, report: ReportTable, changed: Collection[date]) -> None:
    """Write the Parquet file of a report, or those of its parts that changed or have none."""
    if report.part is None:
        _write(home, connection, f"billing.{report.name}", home.marts / f"{report.name}.parquet")
        return
    folder = home.marts / report.name
    folder.mkdir(mode=0o700, exist_ok=True)
    queries = {}
    for part in sorted(_writers(connection, "warehouse.build_state.report_parts", report)):
        file = folder / report.file_of(part)
        if part in changed or not file.exists() or file.stat().st_size == 0:
            queries[file] = f"(select * from billing.{report.name} {report.rows_of(part)} order by {report.order_by})"
    # One part is too small for several threads; parts are written side by side.
    with ThreadPoolExecutor(_WRITERS) as pool:
        written = [pool.submit(_write, home, connection.cursor(), rows, file) for file, rows in queries.items()]
        for one in written:
            one.result()


def _writers(connection: duckdb.DuckDBPyConnection, table: str, report: ReportTable) -> Mapping[date, str]:
    """The build that last wrote each part of a report."""
    return dict(connection.execute(f"select part, written_by from {table} where report = ?", [report.name]).fetchall())


def _write(home: Home, connection: duckdb.DuckDBPyConnection, rows: str, target: Path) -> None:
    with replace_atomically(target, scratch=home.scratch, sync=False) as path:
        connection.execute(f"copy {rows} to {quoted(path)} (format parquet, compression zstd)")


def _count(connection: duckdb.DuckDBPyConnection, report: ReportTable) -> int:
    return int(connection.execute(f"select count(*) from billing.{report.name}").fetchall()[0][0])


def _write_balances(home: Home, connection: duckdb.DuckDBPyConnection) -> None:
    """One JSON object for a gateway to poll: {"as_of", "customers": {id: {...}}}. Decimals are strings, to be exact."""
    result = connection.execute("select * from billing.customer_balances order by customer_id")
    customers = {row["customer_id"]: row for row in rows_as_dictionaries(result)}
    as_of = next((balance["as_of"] for balance in customers.values()), None)
    with replace_atomically(home.marts / "customer_balances.json", scratch=home.scratch) as path:
        path.write_text(json.dumps({"as_of": as_of, "customers": customers}, default=str) + "\n", encoding="utf-8")


def _remove_leftovers(home: Home, reports: list[ReportTable]) -> None:
    """Delete files of reports and of parts that no longer exist."""
    wanted = {home.marts / f"{report.name}.parquet" for report in reports if report.part is None}
    with duckdb.connect(str(home.analysts_file), read_only=True) as connection:
        for report in reports:
            if report.part is not None:
                wanted |= {
                    home.marts / report.name / report.file_of(part) for part in _writers(connection, "written.parts", report)
                }
    for file in home.marts.rglob("*.parquet"):
        if file not in wanted:
            file.unlink()
