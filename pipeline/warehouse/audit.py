"""Whether the reports are what a build from scratch makes of the same inputs.

An incremental build recomputes what its change detection marked, and most of its checks look at that alone: a mistake in the
change detection would hide itself. A build from scratch trusts no earlier result, and its checks look at whole tables.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.progress import OnProgress
from pipeline.core.sql import quoted
from pipeline.store.scratch_folders import scratch_folder
from pipeline.warehouse.build import build
from pipeline.warehouse.build_record import is_current, last_build
from pipeline.warehouse.report_tables import report_tables


def rebuild_and_compare(home: Home, *, on_progress: OnProgress | None = None) -> Mapping[str, int]:
    """Rebuild everything as of the last build, and count the rows of each report that differ from what it was; none: {}.

    What has landed since is built first, so that the two builds have the same inputs. The reports are then those of the build
    from scratch, which are the right ones where the two differ. Raises BillhouseError where nothing was built yet, and
    BuildFailedError where a check fails.
    """
    with home.writing():
        record = last_build(home)
        if record is None:
            raise BillhouseError(f"Nothing has been built in {home.path} yet.", "Build first: billhouse build")
        if not is_current(home, record.as_of):
            build(home, record.as_of, on_progress=on_progress)
        with scratch_folder(home, "audit") as folder:
            before = folder / "before.duckdb"
            try:
                os.link(home.analysts_file, before)  # the next build replaces that file by rename
            except OSError:  # a file system without hard links
                shutil.copyfile(home.analysts_file, before)
            build(home, record.as_of, from_scratch=True, on_progress=on_progress)
            with duckdb.connect() as connection:
                connection.execute(f"attach {quoted(before)} as before (read_only)")
                connection.execute(f"attach {quoted(home.analysts_file)} as now (read_only)")
                return {name: rows for name in sorted(report_tables()) if (rows := _differing_rows(connection, name))}


def _differing_rows(connection: duckdb.DuckDBPyConnection, report: str) -> int:
    then, now = f"select * from before.billing.{report}", f"select * from now.billing.{report}"
    ((rows,),) = connection.execute(
        f"select count(*) from (({then} except all {now}) union all ({now} except all {then}))"
    ).fetchall()
    return int(rows)
