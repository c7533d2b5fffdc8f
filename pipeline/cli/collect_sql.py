"""The command that collects rows of a database: collect-sql. docs/operate/databases.md."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.collect import Name, name_of, print_collected
from pipeline.cli.feed_options import KindOption, SourceOption, inbox_folder, refuse_kind_with_source
from pipeline.cli.support import Json, show
from pipeline.core.errors import WrongUsageError
from pipeline.core.home import Home

if TYPE_CHECKING:
    from pipeline.feeds import Collected


class DatabaseType(StrEnum):
    """The databases that rows are collected from."""

    POSTGRESQL = "postgresql"
    CLICKHOUSE = "clickhouse"


def collect_sql(
    context: typer.Context,
    database: Annotated[DatabaseType, typer.Argument(help="postgresql or clickhouse.", show_default=False)],
    connection_env: Annotated[
        str,
        typer.Option(
            metavar="VARIABLE",
            help="The environment variable that holds the connection string: postgresql://... or https://...",
            show_default=False,
        ),
    ],
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="Read the rows of a table or a view.", show_default=False)
    ] = None,
    query: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read the rows of the select in a file.", show_default=False)
    ] = None,
    cursor_column: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column that grows from row to row: an instant, a whole number, or PostgreSQL's xid8.",
            show_default=False,
        ),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN",
            help="How far before the last row to read again, for rows that were committed late: 10m; 1000 for numbers."
            " Default: 10m for instants.",
            show_default=False,
        ),
    ] = None,
    slot: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="PostgreSQL: read the changes of a logical replication slot instead.", show_default=False
        ),
    ] = None,
    publication: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --slot: the publication. Default: the slot's name.", show_default=False),
    ] = None,
    kind: KindOption = None,
    source: SourceOption = None,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Collect new rows of a database into the inbox. Safe to interrupt and to repeat.

    Reads rows after a cursor (--table or --query, with --cursor-column), or the inserts of a PostgreSQL replication slot
    (--slot), which misses no row, however late it is committed. Collects each row at least once; next, billhouse land FILE...
    stores each row exactly once.
    """
    refuse_kind_with_source(kind, source)
    if [table, query, slot].count(None) != 2:
        raise WrongUsageError("Give one place to read rows from: --table, --query or --slot.")
    if slot is None and (cursor_column is None or publication is not None):
        raise WrongUsageError(
            "--table and --query need --cursor-column, and no --publication.", "Name the column that grows from row to row."
        )
    if slot is not None and (cursor_column is not None or overlap is not None or database is not DatabaseType.POSTGRESQL):
        raise WrongUsageError("--slot needs postgresql, and neither --cursor-column nor --overlap.")

    home = Home.open(context.obj)
    folder = inbox_folder(home, kind, source)
    read = table or (query.stem if query else slot) or ""
    name = name or f"{folder}-{name_of(f'{database}-{read}')}"
    if slot is not None:
        collected = _collect_slot(home, connection_env, slot, publication or slot, name, folder)
    else:
        assert cursor_column is not None
        collected = _collect_rows(home, database, connection_env, table, query, cursor_column, overlap, name, folder)
    show(as_json, collected.as_dict(), lambda: print_collected(collected))


def _collect_slot(home: Home, variable: str, slot: str, publication: str, name: str, folder: str) -> Collected:
    from pipeline.feeds.databases.postgresql import Postgresql
    from pipeline.feeds.databases.replication_slot import Slot, collect_slot

    return collect_slot(home, Postgresql(variable), Slot(slot, publication), name=name, folder=folder)


def _collect_rows(
    home: Home,
    type: DatabaseType,
    variable: str,
    table: str | None,
    query: Path | None,
    cursor_column: str,
    overlap: str | None,
    name: str,
    folder: str,
) -> Collected:
    from pipeline.feeds.databases.clickhouse import Clickhouse, clickhouse_table
    from pipeline.feeds.databases.collect_rows import collect_rows
    from pipeline.feeds.databases.cursors import Selection
    from pipeline.feeds.databases.postgresql import Postgresql, postgresql_table

    is_postgresql = type is DatabaseType.POSTGRESQL
    if table is not None:
        rows, shown = (postgresql_table if is_postgresql else clickhouse_table)(table), table
    else:
        assert query is not None
        rows, shown = f"(\n{_read_query(query)}\n)", query.name
    database = Postgresql(variable) if is_postgresql else Clickhouse(variable)
    return collect_rows(home, database, Selection(rows, shown, cursor_column, overlap), name=name, folder=folder)


def _read_query(path: Path) -> str:
    try:
        query = path.read_text(encoding="utf-8").strip().rstrip(";").strip()
    except (OSError, ValueError) as error:
        raise WrongUsageError(f"{path} cannot be read ({type(error).__name__}).", "Name a file with one select.") from None
    if not query:
        raise WrongUsageError(f"{path} is empty.", "Write one select into it, without a condition on the cursor.")
    return query
