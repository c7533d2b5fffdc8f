"""Whether files landed since the last build: an export does not have their rows."""

from __future__ import annotations

from pipeline.core.home import Home
from pipeline.store.raw import landed_file_rows
from pipeline.warehouse.reports import open_reports


def files_landed_since_build(home: Home) -> int:
    """The number of landed files that the report tables do not have. Raises BillhouseError where nothing was built."""
    with open_reports(home) as reports:
        built = {file_id for (file_id,) in reports.execute("select file_id from landed_files").fetchall()}
    return sum(file_id not in built for file_id in landed_file_rows(home)["file_id"].to_pylist())
