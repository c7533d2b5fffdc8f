"""Builds an earlier or a hypothetical state in a scratch home, which links to the real home's files and never changes them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.pricebook.schema import FILES
from pipeline.pricebook.stripe_currencies import FILE as STRIPE_CURRENCIES
from pipeline.pricebook.validation import default_plan
from pipeline.store.append import finish_interrupted
from pipeline.store.closes import PRICE_BOOK, close_folder, closed_periods, read_close
from pipeline.store.collections import EMPTY_FILE
from pipeline.store.credit_notes import read_credit_notes
from pipeline.store.raw import SCHEMAS, landed_file_rows, merged_file_name
from pipeline.store.scratch_folders import scratch_folder
from pipeline.store.stripe_mirror import MIRRORED_KINDS, ensure_mirror
from pipeline.warehouse.build import build


@contextmanager
def hypothetical_home(home: Home, seeds: Path, as_of: datetime, *, on_progress: OnProgress | None = None) -> Iterator[Home]:
    """A home with all landed files priced by another price book, and with no month closed: every invoice is a draft."""
    with _scratch(home) as scratch:
        _link_landed(home, scratch, landed=None)
        _link_stripe(home, scratch, until=None)
        build(scratch, as_of, project=_project(scratch, seeds), on_progress=on_progress, is_reconstruction=True)
        yield scratch


@contextmanager
def home_at_close(home: Home, period: BillingPeriod, *, on_progress: OnProgress | None = None) -> Iterator[Home]:
    """A home as it was when a month was closed: the files landed by then, the close's as_of and prices, the earlier closes."""
    manifest = read_close(home, period, "close").to_pylist()[0]
    with _scratch(home) as scratch:
        landed = sum(read_close(home, closed, "landed_files").num_rows for closed in closed_periods(home) if closed <= period)
        _link_landed(home, scratch, landed)
        _link_stripe(home, scratch, until=manifest["closed_at"])
        for credit_note_id, lines in read_credit_notes(home).items():
            if lines[0]["issued_at"] < manifest["closed_at"]:
                scratch.credit_notes.mkdir(exist_ok=True)
                (scratch.credit_notes / f"{credit_note_id}.parquet").symlink_to(home.credit_notes / f"{credit_note_id}.parquet")
        for earlier in closed_periods(home):
            if earlier < period:
                close_folder(scratch, earlier).symlink_to(close_folder(home, earlier))
        project = _project(scratch, close_folder(home, period) / PRICE_BOOK)
        build(scratch, manifest["as_of"], project=project, on_progress=on_progress, is_reconstruction=True)
        yield scratch


@contextmanager
def _scratch(home: Home) -> Iterator[Home]:
    with home.writing():  # the scratch home reads files of this one until it is removed
        finish_interrupted(home)
        with scratch_folder(home, "scratch") as folder:
            yield Home.open(folder)


def _link_landed(home: Home, scratch: Home, landed: int | None) -> None:
    """Link the raw collections. Of `landed_files` the first `landed` rows are written (None: all): they decide what is read."""
    for collection in SCHEMAS:
        if collection != "landed_files":
            (scratch.raw / collection).symlink_to(home.raw / collection)
    rows = scratch.raw / "landed_files"
    rows.mkdir()
    (rows / EMPTY_FILE).symlink_to(home.raw / "landed_files" / EMPTY_FILE)
    first = landed_file_rows(home).slice(0, landed)
    pq.write_table(first, rows / merged_file_name(first["file_id"].to_pylist()))


def _link_stripe(home: Home, scratch: Home, until: datetime | None) -> None:
    """Link the Stripe mirror, but only the syncs before an instant: their rows decide which objects are read.

    The publications are linked too, because they tell live mode from test mode.
    """
    ensure_mirror(home)
    mirror = scratch.raw / "stripe"
    (mirror / "syncs").mkdir(parents=True)
    for collection in MIRRORED_KINDS:
        (mirror / collection).symlink_to(home.raw / "stripe" / collection)
    for sync in (home.raw / "stripe" / "syncs").glob("*.parquet"):
        if until is None or sync.name[0] == "_" or sync.stem < f"{until:%Y%m%dT%H%M%S%f}":
            (mirror / "syncs" / sync.name).symlink_to(sync)
    if home.publications.exists():
        scratch.publications.symlink_to(home.publications)


def _project(scratch: Home, seeds: Path) -> Path:
    """The dbt project with another price book."""
    project = scratch.path / "project"
    (project / "seeds").mkdir(parents=True)
    for name in ("dbt_project.yml", "profiles.yml", "models", "macros", "tests"):
        (project / name).symlink_to(PROJECT_ROOT / name)
    (project / "seeds" / "_seeds.yml").symlink_to(PROJECT_ROOT / "seeds" / "_seeds.yml")
    shutil.copyfile(PROJECT_ROOT / "seeds" / STRIPE_CURRENCIES, project / "seeds" / STRIPE_CURRENCIES)
    for name in FILES:
        if (seeds / name).exists():
            shutil.copyfile(seeds / name, project / "seeds" / name)
    _name_default_plan(project / "seeds" / "plans.csv")
    return project


def _name_default_plan(plans: Path) -> None:
    """Fill in plans.csv's column is_default, which price books of older closes lack, with today's default plan."""
    with plans.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    if "is_default" in columns:
        return
    default = default_plan()
    with plans.open("w", newline="", encoding="utf-8") as written:
        writer = csv.DictWriter(written, [*columns, "is_default"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"is_default": "true" if row["plan_id"] == default else ""} for row in rows)
