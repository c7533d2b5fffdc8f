"""Checks that raw/landed_files still has every landed file: its rows are merged, but never removed or changed."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipeline.core.errors import Problem
from pipeline.core.home import Home
from pipeline.store.closes import closed_periods, read_close
from pipeline.store.integrity import RESTORE
from pipeline.store.raw import landed_file_rows

_FOLDER = "raw/landed_files"
_COLUMNS = ("file_id", "landed_sequence", "accepted_rows")
_SHOWN = 20


def landed_file_problems(home: Home) -> Iterator[Problem]:
    """The landings that are missing, and those that differ from what a month was closed with.

    A file of raw/ that someone wrote in place of others would otherwise hide a landing, and with it its usage.
    """
    try:
        found = landed_file_rows(home)
    except (OSError, pa.ArrowException) as error:
        yield Problem(_FOLDER, None, f"cannot be read: {str(error).splitlines()[0]}.", RESTORE)
        return
    missing = sorted(set(range(1, found.num_rows + 1)) - set(found["landed_sequence"].to_pylist()))
    for sequence in missing[:_SHOWN]:
        yield Problem(_FOLDER, None, f"lacks landing number {sequence}; landings are never removed.", RESTORE)
    landed = {row["file_id"]: row for row in found.select(_COLUMNS).to_pylist()}
    for period in closed_periods(home):
        try:
            closed = read_close(home, period, "landed_files").to_pylist()
        except (OSError, pa.ArrowException):
            continue  # reported with the files of the close
        differing = [row for row in closed if {name: row[name] for name in _COLUMNS} != landed.get(row["file_id"])]
        for row in differing[:_SHOWN]:
            reason = f"does not have {row['file_name']} with {row['accepted_rows']} events, as {period} was closed with."
            yield Problem(_FOLDER, None, reason, RESTORE)
