"""A built home that several modules copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.landing.record_kinds import Kind
from tests.support import event, prepare


@pytest.fixture(scope="session")
def two_months(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Path:
    """A home in which August is closed and September is not. It is built once, for all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "two-months"
    usage = []
    for month in ("08", "09"):
        for number in range(20):
            name = f"customer-{number}"
            sandbox = f"{name}-{month}"
            usage.append(event("start", f"2026-{month}-10T10:00:00Z", user=name, sandbox=sandbox, vcpu_count=number + 1))
            usage.append(event("stop", f"2026-{month}-10T11:00:00Z", user=name, sandbox=sandbox))
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            built = prepare(
                tmp_path_factory.mktemp("ledger") / "home",
                parsed_project,
                {Kind.USAGE: usage},
                ("build", "--as-of", "2026-10-05T00:00:00Z"),
                ("close", "2026-08"),
            )
            built.rename(shared)
    return shared
