"""Checks that raw events are what landed: each file's rows are all there, no event is there twice, and each says what it is."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from pipeline.core.errors import Problem
from pipeline.core.home import Home
from pipeline.core.sql import parquet_files, quoted
from pipeline.landing.specification import EVENT_TYPES
from pipeline.store.raw import landed_files
from pipeline.store.scratch_folders import scratch_folder

_SHOWN = 20
_MEMORY_LIMIT = "1500MB"


def event_problems(home: Home) -> Iterator[Problem]:
    """What is wrong with raw/usage_events. Reads all of it, which a build does not: its cost grows with history.

    Billing rules, section 3: an event counts once, whatever it was sent in and however often.
    """
    folder = home.raw / "usage_events"
    rows = [str(path) for path in landed_files(home)]  # before the events are looked for: theirs are there by now
    if not rows or not any(folder.rglob("*.parquet")):
        return
    events = parquet_files(folder, "**", "*.parquet")
    try:
        with scratch_folder(home, "verify") as scratch, duckdb.connect() as connection:
            connection.execute(f"set memory_limit = '{_MEMORY_LIMIT}'")
            connection.execute(f"set temp_directory = {quoted(scratch)}")
            connection.execute(
                "create temp table landed as"
                " select * from read_parquet(?, hive_partitioning = false, union_by_name = true) where kind = 'usage'",
                [rows],
            )
            landed = "landed"
            lost = connection.execute(
                f"select file_name, accepted_rows, coalesce(rows, 0) from {landed} as files"
                f" left join (select file_id, count(*) as rows from {events} group by file_id) as found"
                " on files.file_id = found.file_id"
                " where accepted_rows <> coalesce(rows, 0) order by landed_sequence limit ?",
                [_SHOWN],
            ).fetchall()
            twice = connection.execute(
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
        yield Problem("raw/usage_events", None, reason, "Restore it from a back-up; raw files are never edited.")
        return
    for file_name, accepted, found in lost:
        reason = f"{file_name} landed with {accepted} events, and {found} are there."
        yield Problem("raw/usage_events", None, reason, "Restore it from a back-up; raw files are never edited.")
    for event_id, times in twice:
        reason = f"event {event_id} is there {times} times."
        yield Problem("raw/usage_events", None, reason, "Restore raw/ from a back-up made before it came twice, and build.")
    for event_type, count in unknown:
        reason = f"{count} events are of type {event_type}, which is none."
        yield Problem("raw/usage_events", None, reason, "Restore raw/ from a back-up; raw files are never edited.")
