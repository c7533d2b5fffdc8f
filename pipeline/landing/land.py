"""Lands files, one at a time, each whole or not at all.

The rows of a file are checked in a scratch database. The results are appended to the raw collections together with the file's row
of `landed_files`, which is renamed into place last: readers ignore rows of files without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core.errors import InputFileError, Problem
from pipeline.core.home import SEEDS, Home
from pipeline.core.progress import OnProgress
from pipeline.landing.checks import LandingOptions
from pipeline.landing.converted_files import with_readable_rows
from pipeline.landing.csv_query import csv_header_line
from pipeline.landing.documents import WHOLE, with_document_rows
from pipeline.landing.file_groups import grouped_bytes, is_full
from pipeline.landing.group_landing import land_group
from pipeline.landing.input_files import InputFile, examine, while_unchanged
from pipeline.landing.landed_rows import LandedBefore, LandedRows, landed_before
from pipeline.landing.landing_errors import reading_from, writing_to
from pipeline.landing.landing_index import LandingIndex, update_if_possible
from pipeline.landing.quarantine import QuarantinedFile, quarantined_files
from pipeline.landing.raw_files import write_accepted, write_landed_file, write_quarantine
from pipeline.landing.reading import Reading
from pipeline.landing.record_kinds import Kind, TimestampUnit
from pipeline.landing.result import LandedFile, LandingSummary
from pipeline.landing.retry import retry_rows
from pipeline.landing.row_checks import accepted_range, check_rows, count_rejected, reject_rows, scratch_database
from pipeline.landing.sources.landing import land_source_file
from pipeline.landing.sources.retry import retry_source_rows
from pipeline.landing.sources.select_rows import SelectProcess
from pipeline.landing.sources.source_files import Source, source_of
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
    source: Source | None = None,
    rows_at: str | None = None,
    seeds: Path = SEEDS,
    on_progress: OnProgress | None = None,
) -> LandingSummary:
    """Land each file: valid rows are stored, invalid rows are quarantined, duplicates are counted.

    `landed_at`: by default now. `timestamps`: the unit of numbers where instants are expected. `source`: selects the rows, of its
    kind. `rows_at`: the JSON path of the rows in a document; by default the source's. A file that cannot be read is reported in
    the summary's problems, and the others land. It is safe to land a file again, also after an interruption: its rows are
    duplicates, and those in quarantine are checked again.
    """
    spec = specification(source.kind if source is not None else kind, seeds)
    reading = Reading.of(source, rows_at)
    summary = LandingSummary()
    with home.writing(), SelectProcess() as process:
        index = _prepare(home)
        group: list[InputFile] = []
        size = 0

        def land_now(files: Sequence[InputFile]) -> None:
            options = LandingOptions(landed_at or datetime.now(UTC), timestamps, reading.rows_at)
            _land_together(Landing(home, index, spec, options, source, process), files, summary)

        def land_pending() -> None:
            if group:
                land_now(group)
                group.clear()
                with writing_to(home, "The landing stopped"):
                    index.update()  # a file of the group may follow once more

        for done, path in enumerate(paths):
            if on_progress is not None:
                on_progress(path.name, done, len(paths))
            try:
                with writing_to(home, f"{path} did not land"), reading_from(path):
                    file = examine(path, spec.kind, reading.shown)
                    index.update()
            except InputFileError as error:
                land_pending()
                summary.problems.append(error.problem)
                continue
            file_size = grouped_bytes(file, spec.kind) if reading.rows_at == WHOLE else None
            if file_size is None or is_full(len(group), size) or any(file.file_id == other.file_id for other in group):
                land_pending()
            if file_size is not None and landed_before(index, file.file_id) is None:
                size = size + file_size if group else file_size
                group.append(file)
            else:
                land_pending()
                land_now([file])
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
    Rows that a person settled are checked only where their file is named: the correction of another file may have landed them
    under another id. The summary has no files without quarantined rows; names without any are reported in its problems.
    """
    summary = LandingSummary()
    with home.writing(), SelectProcess() as process:
        index = _prepare(home)
        found = [
            file
            for file in quarantined_files(home, with_settled=bool(names))
            if (kind is None or file.kind is kind) and (not names or file.file_name in names)
        ]
        known = {file.file_name for file in found}
        for name in names:
            if name not in known:
                reason = "has no rows in quarantine" + (f" as {kind}." if kind else ".")
                summary.problems.append(Problem(name, None, reason, "billhouse quarantine lists the files that have."))
        for done, file in enumerate(found):
            if on_progress is not None:
                on_progress(file.file_name, done, len(found))
            try:
                with writing_to(home, f"The quarantined rows of {file.file_name} were not checked"), reading_from(file.file_name):
                    options = LandingOptions(landed_at or datetime.now(UTC), timestamps)
                    spec = specification(file.kind, seeds)
                    source = source_of(home, file)
                    summary.files.append(_retry(Landing(home, index, spec, options, source, process), file))
            except InputFileError as error:
                summary.problems.append(error.problem)
        update_if_possible(index)
    return summary


def _prepare(home: Home) -> LandingIndex:
    with writing_to(home, "Nothing landed"):
        ensure_raw_collections(home)
        finish_interrupted(home)
        return LandingIndex(home)


@dataclass(frozen=True)
class Landing:
    """What a file is landed with."""

    home: Home
    index: LandingIndex
    spec: Specification
    options: LandingOptions
    source: Source | None
    process: SelectProcess


def _land_together(landing: Landing, files: Sequence[InputFile], summary: LandingSummary) -> None:
    """Land files in this order, and add the results to the summary. If a file cannot be read, the others land without it."""
    try:
        with writing_to(landing.home, f"{files[0].path} did not land"), reading_from(files[0].path):
            landed = (
                land_group(landing.home, landing.index, landing.process, files, landing.source, landing.spec, landing.options)
                if len(files) > 1
                else [_land(landing, files[0])]
            )
            summary.files.extend(landed)
            summary.landed_paths.extend(file.path for file in files)
    except InputFileError as error:
        if len(files) == 1:
            summary.problems.append(error.problem)
            return
        middle = len(files) // 2
        for half in (files[:middle], files[middle:]):
            _land_together(landing, half, summary)


def _land(landing: Landing, file: InputFile) -> LandedFile:
    home, index, spec, options = landing.home, landing.index, landing.spec, landing.options
    index.update()
    earlier = landed_before(index, file.file_id)
    if earlier is not None:
        return _land_again(landing, file, earlier)
    if landing.source is not None:
        return land_source_file(home, index, landing.process, file, landing.source, spec, options)
    with scratch_database(home) as (connection, folder), append_files(home, "land") as files:
        before = LandedRows(connection, home, index, spec)
        file = with_readable_rows(file, folder)
        if options.rows_at != WHOLE:
            with while_unchanged(file):
                file = with_document_rows(connection, file, options.rows_at)
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


def _retry(landing: Landing, file: QuarantinedFile) -> LandedFile:
    home, index, spec, options = landing.home, landing.index, landing.spec, landing.options
    if landing.source is None:
        return retry_rows(home, index, file, spec, options)
    return retry_source_rows(home, index, landing.process, file, landing.source, spec, options)


def _land_again(landing: Landing, file: InputFile, earlier: LandedBefore) -> LandedFile:
    """Land a file that has landed before: its rows are duplicates; those in quarantine are checked again.

    Rows that a person settled count as duplicates: what was corrected in another file would be billed twice.
    """
    name = landing.source.name if landing.source is not None else None
    received = earlier.received + earlier.omitted
    waiting = quarantined_files(landing.home, file.file_id, with_settled=False) if earlier.quarantined else []
    quarantined = next(iter(waiting), None)
    if quarantined is None:
        return LandedFile(
            file.path.name,
            file.file_id,
            received,
            0,
            earlier.received,
            0,
            {},
            is_already_landed=True,
            source=name,
            omitted=earlier.omitted,
        )
    if quarantined.header is None and quarantined.format.startswith("csv"):
        quarantined = replace(quarantined, header=csv_header_line(file))
    again = _retry(landing, quarantined)
    omitted = earlier.omitted + again.omitted
    # A row that was quarantined as one may land as several.
    received = max(received, again.accepted + again.quarantined + omitted)
    duplicates = received - again.accepted - again.quarantined - omitted
    return replace(
        again, file_name=file.path.name, received=received, duplicates=duplicates, omitted=omitted, is_already_landed=True
    )
