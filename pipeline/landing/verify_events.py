"""Checks raw/usage_events: every file has all its rows, event ids are unique, and event types are known."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from pipeline.core.errors import Problem
from pipeline.core.home import Home
from pipeline.core.sql import parquet_list, quoted
from pipeline.landing.specification import EVENT_TYPES
from pipeline.store.integrity import read_store_state
from pipeline.store.scratch_folders import scratch_folder

_SHOWN = 20
_ATTEMPTS = 5
_MEMORY_LIMIT = "1500MB"


def event_problems(home: Home) -> Iterator[Problem]:
    """The problems of raw/usage_events. Reads all events, so its cost grows with history; a build does not run it.

    Billing rules, section 3: an event counts once, however often it was sent.
    """
    for attempt in range(_ATTEMPTS):
        # One list of files, read without a lock. If files of it were replaced meanwhile, those in their place are read.
        state = read_store_state(home).files
        rows, events = (
            [file for path, file in state.items() if path.startswith(f"raw/{name}/") and path.endswith(".parquet")]
            for name in ("landed_files", "usage_events")
        )
        if not rows or not events:
            return
        problems = list(_problems_of(home, parquet_list(rows), parquet_list(events)))
        if attempt == _ATTEMPTS - 1 or all(file.exists() for file in (*rows, *events)):
            yield from problems
            return


def _problems_of(home: Home, rows: str, events: str) -> Iterator[Problem]:
    try:
        with scratch_folder(home, "verify") as scratch, duckdb.connect() as connection:
            connection.execute(f"set memory_limit = '{_MEMORY_LIMIT}'")
            connection.execute(f"set temp_directory = {quoted(scratch)}")
            connection.execute(f"create temp table landed as select * from {rows} where kind = 'usage'")
            landed = "landed"
            incomplete = connection.execute(
                f"select file_name, accepted_rows, coalesce(rows, 0) from {landed} as files"
                f" left join (select file_id, count(*) as rows from {events} group by file_id) as found"
                " on files.file_id = found.file_id"
                " where accepted_rows <> coalesce(rows, 0) order by landed_sequence limit ?",
                [_SHOWN],
            ).fetchall()
            repeated = connection.execute(
                f"select event_id, count(*) from {events} where file_id in (select file_id from {landed})"
                " group by event_id having count(*) > 1 order by event_id limit ?",
                [_SHOWN],
            ).fetchall()
            unknown = connection.execute(
                f"select coalesce(event_type, 'none'), count(*) from {events} where file_id in (select file_id from {landed})"
                " and coalesce(event_type, '') not in (select unnest($types))"
                " group by event_type order by event_type limit $shown",
                {"types": list(EVENT_TYPES), "shown": _SHOWN},
            ).fetchall()
    except duckdb.Error as error:
        reason = f"cannot be read: {str(error).splitlines()[0]}."
        yield Problem("raw/usage_events", None, reason, "Restore it from a backup; raw files are never edited.")
        return
    for file_name, accepted, found in incomplete:
        reason = f"has {found} events of {file_name}, which landed with {accepted}."
        yield Problem("raw/usage_events", None, reason, "Restore it from a backup; raw files are never edited.")
    for event_id, times in repeated:
        reason = f"has event {event_id} {times} times."
        yield Problem("raw/usage_events", None, reason, "Restore raw/ from a backup in which it is unique, and build.")
    for event_type, count in unknown:
        reason = f"has {count} events of the unknown type {event_type}."
        yield Problem("raw/usage_events", None, reason, "Restore it from a backup; raw files are never edited.")
