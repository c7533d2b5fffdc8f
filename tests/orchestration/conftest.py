"""The project's definitions, and a home that a run has built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline.core.home import HOME_VARIABLE, Home
from pipeline.landing.record_kinds import Kind
from tests.orchestration.jobs import build
from tests.support import copy_home, event, write_jsonl


@pytest.fixture(scope="session")
def definitions(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Iterator[dg.Definitions]:
    """The project's definitions, loaded over an empty home of their own."""
    home = copy_home(parsed_project, tmp_path_factory.mktemp("graph") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home.path))
        # The partitions begin with the first billing month; from 1970 on there would be 20,000 days.
        with pytest.MonkeyPatch.context() as first_month:
            first_month.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-01")
            from orchestration.definitions import definitions

        yield definitions


@pytest.fixture(scope="session")
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture(scope="session")
def first_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory, parsed_project: Path
) -> tuple[Home, dg.ExecuteInProcessResult]:
    """A home with usage, a plan and a customer, and the run that landed and built it."""
    home = copy_home(parsed_project, tmp_path_factory.mktemp("first-run") / "home")
    usage = [
        event("start", "2026-08-20T10:00:00Z", user="paula", sandbox="p", vcpu_count=4, memory_gb=4, storage_gb=5),
        event("stop", "2026-08-20T11:00:00Z", user="paula", sandbox="p"),
        "no json",
    ]
    rows: dict[Kind, list[Any]] = {
        Kind.USAGE: usage,
        Kind.SUBSCRIPTIONS: [{"customer_id": "paula", "plan_id": "pro", "effective_at": "2026-08-16T00:00:00Z"}],
        Kind.CUSTOMERS: [{"customer_id": "paula", "name": "Paula", "created_at": "2026-08-01T00:00:00Z"}],
    }
    for kind, records in rows.items():
        (home.inbox / kind).mkdir(parents=True)
        write_jsonl(home.inbox / kind / "file.jsonl", records)
    return home, build(definitions, home, instance, days=("2026-08-19", "2026-08-21"))


@pytest.fixture
def built_home(first_run: tuple[Home, dg.ExecuteInProcessResult], tmp_path: Path) -> Home:
    """A copy of that home."""
    return copy_home(first_run[0].path, tmp_path / "home")
