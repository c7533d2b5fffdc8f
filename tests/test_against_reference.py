"""Random histories through the warehouse and through the reference engine: every session, day, line and invoice is equal.

Many histories, as different customers, go through one build. `make soak` runs thousands: BILLHOUSE_SOAK says how many, and
BILLHOUSE_SOAK_SEED from which seed on.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from pipeline.home import PROJECT_ROOT, Home
from pipeline.landing import Kind, land_files
from pipeline.warehouse import build
from tests.reference import PriceBook, accept, compute
from tests.reference.compare import compare
from tests.strategies import Batch, random_batch, to_jsonl, to_jsonl_parts
from tests.support import query

BATCH = 60
SOAK = int(os.environ.get("BILLHOUSE_SOAK", "0"))
SOAK_SEED = int(os.environ.get("BILLHOUSE_SOAK_SEED", "1000"))
SOAK_BATCH = 250


def differences(batch: Batch, home: Home, folder: Path, heartbeat: int | None = None) -> list[str]:
    """What differs between the warehouse's reports and the reference engine's results for a batch, in words."""
    project = _project(batch, folder)
    usage = to_jsonl_parts(batch, folder, 3)
    _, subscriptions = to_jsonl(batch, folder)
    accepted = accept(batch.events)
    summary = land_files(home, usage, seeds=project / "seeds")
    assert summary.problems == []
    assert summary.accepted == len(accepted.events)
    assert summary.duplicates == accepted.duplicates
    assert summary.quarantined == len(accepted.quarantined)
    land_files(home, [subscriptions], Kind.SUBSCRIPTIONS, seeds=project / "seeds")
    build(home, batch.as_of, project=project)
    expected = compute(accepted.events, batch.subscriptions, PriceBook.read(project / "seeds"), batch.as_of, heartbeat)
    return compare(
        expected,
        invoices=query(home, "from invoices"),
        invoice_lines=query(home, "from invoice_lines"),
        sessions=query(home, "from sessions"),
        usage_daily=query(home, "from usage_daily"),
    )


def _project(batch: Batch, folder: Path) -> Path:
    """The dbt project with the batch's own price book."""
    project = folder / "project"
    project.mkdir()
    for name in ("dbt_project.yml", "profiles.yml", "models", "macros", "tests"):
        (project / name).symlink_to(PROJECT_ROOT / name)
    shutil.copytree(PROJECT_ROOT / "seeds", project / "seeds")
    batch.price_book.write(PROJECT_ROOT / "seeds", project / "seeds")
    return project


@pytest.mark.parametrize("seed", range(1, 7))
def test_sixty_histories_are_billed_as_the_reference_engine_bills_them(seed: int, home: Home, tmp_path: Path) -> None:
    assert differences(random_batch(Random(seed), BATCH), home, tmp_path) == []


def test_and_so_they_are_where_a_silence_ends_a_session(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLHOUSE_HEARTBEAT_TIMEOUT_SECONDS", "3600")
    assert differences(random_batch(Random(7), BATCH), home, tmp_path, heartbeat=3600) == []


@pytest.mark.skipif(SOAK == 0, reason="a soak: make soak")
@pytest.mark.parametrize("seed", range(SOAK_SEED, SOAK_SEED + -(-SOAK // SOAK_BATCH)))
def test_thousands_of_histories(seed: int, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = {3: 60, 4: 3600}.get(seed % 5)
    if heartbeat is not None:
        monkeypatch.setenv("BILLHOUSE_HEARTBEAT_TIMEOUT_SECONDS", str(heartbeat))
    assert differences(random_batch(Random(seed), SOAK_BATCH), home, tmp_path, heartbeat) == []
