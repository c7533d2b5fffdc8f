"""Opens the file that builds write (`warehouse.duckdb`), for reading the models' tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.sql import quoted
from pipeline.store.append import finish_interrupted


@contextmanager
def open_warehouse(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to the models' tables.

    Hold the home's write lock meanwhile: one process at a time can open the file. Raises BillhouseError where nothing was built
    yet.
    """
    if not home.warehouse.exists():
        raise BillhouseError(f"Nothing has been built in {home.path} yet.", "Build first: billhouse build")
    finish_interrupted(home)  # the staging views read the files that are in raw/
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        # The staging views name files relative to the home.
        connection.execute(f"set file_search_path = {quoted(home.path)}")
        yield connection
