"""What would land of a file: a landing that writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from pipeline.core.home import SEEDS, Home
from pipeline.core.sql import rows_as_dictionaries
from pipeline.landing.checks import LandingOptions
from pipeline.landing.converted_files import with_readable_rows
from pipeline.landing.documents import WHOLE, with_document_rows
from pipeline.landing.file_rows import open_raw_rows
from pipeline.landing.input_files import InputFile, examine
from pipeline.landing.landed_rows import LandedRows
from pipeline.landing.landing_errors import reading_from, writing_to
from pipeline.landing.landing_index import LandingIndex
from pipeline.landing.record_kinds import Kind, TimestampUnit
from pipeline.landing.row_checks import check_rows, count_rejected, reject_rows, scratch_database
from pipeline.landing.sources.landing import judge_source_files
from pipeline.landing.sources.select_rows import SelectProcess
from pipeline.landing.sources.selected_rows import RAW_ROWS, count_outcomes
from pipeline.landing.sources.source_files import Source
from pipeline.landing.specification import Specification, specification
from pipeline.landing.unread_columns import UnreadColumns
from pipeline.store.append import finish_interrupted
from pipeline.store.raw import ensure_raw_collections

_SHOWN = 10


@dataclass(frozen=True)
class Preview:
    """What would land of a file, compared with what has landed."""

    file_name: str
    kind: Kind
    source: str | None
    received: int
    accepted: int
    duplicates: int
    quarantined: int
    omitted: int
    by_reason: dict[str, int]
    rows: Sequence[dict[str, Any]]
    """The first rows that would land, without the columns that have no value."""
    quarantined_rows: Sequence[dict[str, Any]]
    """The first rows that would be quarantined: file_row, reason, detail, raw_row."""


def preview(
    home: Home,
    path: Path,
    kind: Kind = Kind.USAGE,
    *,
    timestamps: TimestampUnit | None = None,
    source: Source | None = None,
    rows_at: str | None = None,
    seeds: Path = SEEDS,
) -> Preview:
    """Check a file as land_files would, and write nothing. Raises InputFileError if it cannot be read."""
    spec = specification(source.kind if source is not None else kind, seeds)
    options = LandingOptions(datetime.now(UTC), timestamps, rows_at or (source.rows_at if source is not None else WHOLE))
    with home.writing(), writing_to(home, f"{path} cannot be checked"), reading_from(path):
        ensure_raw_collections(home)
        finish_interrupted(home)
        index = LandingIndex(home)
        index.update()
        file = examine(path, spec.kind)
        with scratch_database(home) as (connection, folder):
            if source is None:
                return _preview(connection, home, index, file, spec, options, folder)
            with SelectProcess() as process:
                judge_source_files(connection, home, index, process, {0: file}, source, spec, options, folder)
            counts = count_outcomes(connection)
            bad = (
                "select quarantined.file_row, verdict as reason, detail, raw_row from quarantined"
                f" inner join ({RAW_ROWS}) as raw on quarantined.file_row = raw.file_row"
            )
            return Preview(
                file.path.name,
                spec.kind,
                source.name,
                counts.received,
                counts.accepted,
                counts.duplicates,
                counts.quarantined.total(),
                counts.omitted,
                dict(sorted(counts.quarantined.items())),
                _first(connection, f"select {', '.join(spec.columns)}, file_row from accepted"),
                _first(connection, bad),
            )


def _preview(
    connection: duckdb.DuckDBPyConnection,
    home: Home,
    index: LandingIndex,
    file: InputFile,
    spec: Specification,
    options: LandingOptions,
    folder: Path,
) -> Preview:
    file = with_readable_rows(file, folder)
    if options.rows_at != WHOLE:
        file = with_document_rows(connection, file, options.rows_at)
    before = LandedRows(connection, home, index, spec)
    profile = check_rows(connection, home, file, spec, options, UnreadColumns(spec), before)
    reject_rows(connection, spec, before)
    counts, _ = count_rejected(connection)
    duplicates = counts.pop("duplicate", 0)
    rows = _first(connection, f"select {', '.join(spec.columns)}, file_row from accepted")
    with open_raw_rows(connection, {0: file}) as raw:
        bad = _first(
            connection,
            f"select rejected.file_row, verdict as reason, detail, raw_row from rejected inner join ({raw}) as raw"
            " on rejected.file_row = raw.file_row where verdict <> 'duplicate'",
        )
    accepted = profile.received - duplicates - counts.total()
    reasons = dict(sorted(counts.items()))
    return Preview(file.path.name, spec.kind, None, profile.received, accepted, duplicates, counts.total(), 0, reasons, rows, bad)


def _first(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    rows = rows_as_dictionaries(connection.execute(f"{query} order by file_row limit {_SHOWN}"))
    return [{name: value for name, value in row.items() if value is not None} for row in rows]
