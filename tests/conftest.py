"""Fixtures for all tests: an isolated home, and the command line."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.warehouse.parsed_project import parsed_project as parse
from tests.analysts_home import fill
from tests.support import Outcome, billhouse, copy_home

_SLOW_FILES = (
    "test_documented_commands.py",
    "test_incremental.py",
    "test_kills.py",
    "test_browser.py",
    "test_graph.py",
    "test_parity.py",
    "test_mirror.py",
    "test_failures.py",
    "test_explain.py",
    "test_ledger.py",
    "test_customer_records.py",
    "test_real_grid_usage.py",
    "test_months.py",
    "test_faults.py",
    "test_terminal.py",
    "test_demo.py",
    "test_against_reference.py",
    "test_many_runs.py",
    "test_home_paths.py",
    "test_atomicity.py",
)
"""The files that take a minute and more, the longest first."""
FIRST_BILLING_MONTH = "1970-01"
"""The test data begin long before the default first billing month, 2026-01."""
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED_BYTES = 6 << 30
"""The homes of the tests that run take up to 2 GB."""
if "TMPDIR" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _MEMORY_NEEDED_BYTES:
    # A build waits for the disk some 200 times (each commit and each file is synced).
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None  # read the variable again
# As the command line does: the tests that call `build` directly create a million objects each.
gc.set_threshold(50_000)
# Set here for session fixtures and for processes that tests start.
os.environ["BILLHOUSE_FIRST_BILLING_MONTH"] = FIRST_BILLING_MONTH
_STRIPE_VARIABLES = ("STRIPE_API_KEY", "STRIPE_API_BASE", "BILLHOUSE_STRIPE_URL")


_SLOW_FIXTURES = frozenset({"parsed", "parsed_project"})
"""Fixtures that run dbt: a test that uses one, also through another fixture, is not in `make test-fast`."""
_SLOW_FOLDERS = frozenset({"kills", "orchestration", "parity"})
"""Folders that `make test-fast` does not even import: Dagster and Spark take seconds to load."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="run only the tests that need no dbt build, as `make test-fast` does")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """In a fast run, do not import the folders of which every test is slow."""
    return True if config.getoption("--fast") and collection_path.name in _SLOW_FOLDERS else None


def is_slow(item: pytest.Item) -> bool:
    """Whether a test runs dbt, or is marked as slow for another reason."""
    return not _SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())) or item.get_closest_marker("slow") is not None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run slow files first, so that no worker starts one at the end while the others are idle; in a fast run none of them."""
    if config.getoption("--fast"):
        chosen = [item for item in items if not is_slow(item)]
        config.hook.pytest_deselected(items=[item for item in items if is_slow(item)])
        items[:] = chosen
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


def refuse_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a build fail the test."""

    def refuse(*_: object, **__: object) -> NoReturn:
        pytest.fail("This test runs dbt, which `make test-fast` leaves out: mark it with @pytest.mark.slow.")

    monkeypatch.setattr("pipeline.warehouse.build.run_dbt", refuse)


@pytest.fixture(autouse=True)
def no_builds_in_a_fast_run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that builds belongs among the slow ones."""
    if request.config.getoption("--fast"):
        refuse_builds(monkeypatch)


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


@pytest.fixture(scope="session")
def analysts_home(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """A home with every report table filled (tests.analysts_home), built once for all workers. Copy it to change it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "analysts"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            folder = tmp_path_factory.mktemp("analysts")
            fill(copy_home(parsed_project, folder / "home"), folder)
            (folder / "home").rename(shared)
    return Home(shared)


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
