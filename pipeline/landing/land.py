"""Lands files, one at a time, each whole or not at all.

The rows of a file are checked in a scratch database. The results are appended to the raw collections together with the file's row
of `landed_files`, which is renamed into place last: readers ignore rows of files without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.core.errors import BillhouseError, InputFileError, Problem
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import SEEDS, Home
from pipeline.core.progress import OnProgress
from pipeline.landing.checks import LandingOptions
from pipeline.landing.csv_query import csv_header_line
from pipeline.landing.file_groups import is_full, may_be_grouped
from pipeline.landing.group_landing import land_group
from pipeline.landing.input_files import InputFile, examine, while_unchanged
from pipeline.landing.landed_rows import LandedBefore, LandedRows, landed_before
from pipeline.landing.landing_index import LandingIndex, update_if_possible
from pipeline.landing.parquet_query import with_exact_types
from pipeline.landing.quarantine import quarantined_files
from pipeline.landing.raw_files import write_accepted, write_landed_file, write_quarantine
from pipeline.landing.record_kinds import Kind, TimestampUnit
from pipeline.landing.result import LandedFile, LandingSummary
from pipeline.landing.retry import retry_rows
from pipeline.landing.row_checks import MEMORY_LIMIT, accepted_range, check_rows, count_rejected, reject_rows, scratch_database
from pipeline.landing.specification import Specification, specification
from pipeline.landing.unread_columns import UnreadColumns
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.raw import ensure_raw_collections


def land_files(
    home: Home,
    paths: Sequence[Path],
    kind: Kind = Kind.USAGE,
    *,
    landed_at: datetime | None = None,
    timestamps: TimestampUnit | None = None,
    seeds: Path = SEEDS,
    on_progress: OnProgress | None = None,
) -> LandingSummary:
    """Land each file: valid rows are stored, invalid rows are quarantined, duplicates are counted.

    `landed_at`: by default now. `timestamps`: the unit of numbers where instants are expected. A file that cannot be read is
    reported in the summary's problems, and the others land. It is safe to land a file again, also after an interruption: its rows
    are duplicates, and those in quarantine are checked again.
    """
    spec = specification(kind, seeds)
    summary = LandingSummary()
    with home.writing():
        index = _prepare(home)
        group: list[InputFile] = []

        def land_pending() -> None:
            if group:
                _land_together(home, index, group, spec, LandingOptions(landed_at or datetime.now(UTC), timestamps), summary)
                group.clear()
                with _writing_to(home, "The landing stopped"):
                    index.update()  # a file of the group may follow once more

        for done, path in enumerate(paths):
            if on_progress is not None:
                on_progress(path.name, done, len(paths))
            try:
                with _writing_to(home, f"{path} did not land"), _reading(path):
                    file = examine(path, spec.kind)
                    index.update()
            except InputFileError as error:
                land_pending()
                summary.problems.append(error.problem)
                continue
            is_grouped = may_be_grouped(file, spec.kind)
            if not is_grouped or is_full(group) or any(file.file_id == other.file_id for other in group):
                land_pending()
            if is_grouped and landed_before(index, file.file_id) is None:
                group.append(file)
            else:
                land_pending()
                _land_together(home, index, [file], spec, LandingOptions(landed_at or datetime.now(UTC), timestamps), summary)
        land_pending()
        update_if_possible(index)
    return summary


def retry_quarantined(
    home: Home,
    names: Sequence[str] = (),
    kind: Kind | None = None,
    *,
    landed_at: datetime | None = None,
    timestamps: TimestampUnit | None = None,
    seeds: Path = SEEDS,
    on_progress: OnProgress | None = None,
) -> LandingSummary:
    """Check quarantined rows again, as if they landed now: of files with these names and of this kind, by default of all.

    Rows that are valid now land, with their original file and line. The others stay in quarantine, with their current reason.
    The summary has no files without quarantined rows; names without any are reported in its problems.
    """
    summary = LandingSummary()
    with home.writing():
        index = _prepare(home)
        found = [
            file
            for file in quarantined_files(home)
            if (kind is None or file.kind is kind) and (not names or file.file_name in names)
        ]
        known = {file.file_name for file in found}
        for name in names:
            if name not in known:
                reason = "has no rows in quarantine" + (f" as {kind}." if kind else ".")
                summary.problems.append(Problem(name, None, reason, "billing.quarantined_events lists the files that have."))
        for done, file in enumerate(found):
            if on_progress is not None:
                on_progress(file.file_name, done, len(found))
            try:
                with _writing_to(home, f"The quarantined rows of {file.file_name} were not checked"), _reading(file.file_name):
                    options = LandingOptions(landed_at or datetime.now(UTC), timestamps)
                    summary.files.append(retry_rows(home, index, file, specification(file.kind, seeds), options))
            except InputFileError as error:
                summary.problems.append(error.problem)
        update_if_possible(index)
    return summary


def _prepare(home: Home) -> LandingIndex:
    with _writing_to(home, "Nothing landed"):
        ensure_raw_collections(home)
        finish_interrupted(home)
        return LandingIndex(home)


@contextmanager
def _writing_to(home: Home, failure: str) -> Iterator[None]:
    """Raise a disk error of the block as a BillhouseError that starts with `failure`."""
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        known = to_billhouse_error(error)
        raise BillhouseError(f"{failure}: {home.path} cannot be written to. {known.message}", known.next_step) from error


@contextmanager
def _reading(file: Path | str) -> Iterator[None]:
    """Raise an error that the file may have caused as an InputFileError, so that other files land."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        if "offload" in str(error):  # the disk of the home is full
            raise
        next_step = "Split it into smaller files, and land those."
        raise InputFileError(file, f"needs more memory than the limit of a landing, {MEMORY_LIMIT}.", next_step) from error
    except (duckdb.IOException, BillhouseError, OSError):
        raise
    except (duckdb.Error, pa.ArrowException, ValueError, RecursionError, MemoryError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputFileError(
            file, f"cannot be read ({cause[:300]}); none of its rows landed.", "Convert it to another format, and land that."
        ) from error


def _land_together(
    home: Home,
    index: LandingIndex,
    files: Sequence[InputFile],
    spec: Specification,
    options: LandingOptions,
    summary: LandingSummary,
) -> None:
    """Land files in this order, and add the results to the summary. If a file cannot be read, the others land without it."""
    try:
        with _writing_to(home, f"{files[0].path} did not land"), _reading(files[0].path):
            landed = (
                land_group(home, index, files, spec, options) if len(files) > 1 else [_land(home, index, files[0], spec, options)]
            )
            summary.files.extend(landed)
            summary.landed_paths.extend(file.path for file in files)
    except InputFileError as error:
        if len(files) == 1:
            summary.problems.append(error.problem)
            return
        middle = len(files) // 2
        for half in (files[:middle], files[middle:]):
            _land_together(home, index, half, spec, options, summary)


def _land(home: Home, index: LandingIndex, file: InputFile, spec: Specification, options: LandingOptions) -> LandedFile:
    index.update()
    earlier = landed_before(index, file.file_id)
    if earlier is not None:
        return _land_again(home, index, file, earlier, spec, options)
    with scratch_database(home) as (connection, folder), append_files(home, "land") as files:
        before = LandedRows(connection, home, index, spec)
        file = with_exact_types(file, folder)
        unread = UnreadColumns(spec)
        profile = check_rows(connection, home, file, spec, options, unread, before)
        with while_unchanged(file):
            reject_rows(connection, spec, before)
            counts, example = count_rejected(connection)
            duplicates = counts.pop("duplicate", 0)
            ((accepted, first_at, last_at),) = accepted_range(connection, spec)
            if accepted:
                write_accepted(connection, files, file, spec, profile)
            if counts:
                write_quarantine(connection, files, file, spec)
        received = profile.received
        assert received == accepted + duplicates + counts.total(), "every row is accepted, a duplicate or quarantined"
        landed = LandedFile(
            file.path.name,
            file.file_id,
            received,
            accepted,
            duplicates,
            counts.total(),
            dict(sorted(counts.items())),
            landed_as=file.file_id,
            unread_columns=unread.names,
            suggestions=unread.suggestions,
            misspelt_resources=unread.misspelt_resources,
            starts_without=profile.starts_without,
            example=example,
        )
        write_landed_file(files, file, spec, landed, options, index.landed_rows + 1, (first_at, last_at))
    return landed


def _land_again(
    home: Home, index: LandingIndex, file: InputFile, earlier: LandedBefore, spec: Specification, options: LandingOptions
) -> LandedFile:
    """Land a file that has landed before: its rows are duplicates; those in quarantine are checked again."""
    received = earlier.received
    quarantined = next(iter(quarantined_files(home, file.file_id)), None) if earlier.quarantined else None
    if quarantined is None:
        return LandedFile(file.path.name, file.file_id, received, 0, received, 0, {}, is_already_landed=True)
    if quarantined.header is None and quarantined.format.startswith("csv"):
        quarantined = replace(quarantined, header=csv_header_line(file))
    again = retry_rows(home, index, quarantined, spec, options)
    duplicates = received - again.accepted - again.quarantined
    return replace(again, file_name=file.path.name, received=received, duplicates=duplicates, is_already_landed=True)
