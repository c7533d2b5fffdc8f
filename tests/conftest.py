"""Fixtures for all tests: an isolated home, and the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.warehouse.parsed_project import parsed_project as parse
from tests.support import Outcome, billhouse, copy_home

_SLOW_FILES = (
    "test_documented_commands.py",
    "test_incremental.py",
    "test_parity.py",
    "test_mirror.py",
    "test_ledger.py",
    "test_browser.py",
    "test_faults.py",
    "test_real_grid_usage.py",
    "test_many_runs.py",
    "test_months.py",
    "test_against_reference.py",
    "test_graph.py",
    "test_explain.py",
    "test_kills.py",
    "test_demo.py",
)
FIRST_BILLING_MONTH = "1970-01"
"""The test data begin long before the default first billing month, 2026-01."""
# Set here for session fixtures and for processes that tests start.
os.environ["BILLHOUSE_FIRST_BILLING_MONTH"] = FIRST_BILLING_MONTH
_STRIPE_VARIABLES = ("STRIPE_API_KEY", "STRIPE_API_BASE", "BILLHOUSE_STRIPE_URL")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow files first, so that no worker starts one at the end while the others are idle."""
    items.sort(key=lambda item: _SLOW_FILES.index(item.path.name) if item.path.name in _SLOW_FILES else len(_SLOW_FILES))


@pytest.fixture(autouse=True)
def isolated_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide keys, homes and settings of the environment from tests."""
    for name in (
        *_STRIPE_VARIABLES,
        "BILLHOUSE_HOME",
        "BILLHOUSE_CLOSE_GRACE_HOURS",
        "BILLHOUSE_HEARTBEAT_TIMEOUT_SECONDS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", FIRST_BILLING_MONTH)


@pytest.fixture(scope="session")
def parsed_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home. The project is parsed before, once for all workers, so that no home has to parse it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "parsed-project"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            parse(Home.open(tmp_path_factory.mktemp("parsing")), PROJECT_ROOT)
            shared.mkdir()
    return shared


@pytest.fixture
def make_home(tmp_path: Path, parsed_project: Path) -> Callable[[str], Home]:
    """Creates named homes."""

    def make(name: str) -> Home:
        return copy_home(parsed_project, tmp_path / name)

    return make


@pytest.fixture
def home(make_home: Callable[[str], Home]) -> Home:
    """An empty home."""
    return make_home("home")


@pytest.fixture
def run(home: Home) -> Callable[..., Outcome]:
    """Runs the command line in the test's home: run('land', path) -> Outcome."""

    def call(*words: object) -> Outcome:
        return billhouse(home.path, *words)

    return call
