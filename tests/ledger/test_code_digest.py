"""The digest of the code that a close records: it changes with anything that computes an invoice, and with nothing else."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import grimp
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.core.periods import BillingPeriod
from pipeline.landing.record_kinds import Kind
from pipeline.ledger.code_digest import COMPUTING_PACKAGES, PYTHON_PACKAGE, code_digest
from pipeline.store.closes import close_folder, content_hash, read_close
from tests.support import billhouse, event, prepare

AUGUST = BillingPeriod(2026, 8)


@pytest.fixture
def code(tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the dbt project, and one of the Python package."""
    project = tmp_path / "project"
    for folder in ("models", "macros", "seeds"):
        shutil.copytree(PROJECT_ROOT / folder, project / folder)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(PROJECT_ROOT / name, project / name)
    package = tmp_path / "pipeline"
    shutil.copytree(PYTHON_PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    return project, package


def test_equal_code_has_an_equal_digest_wherever_it_is_installed(code: tuple[Path, Path]) -> None:
    assert code_digest(*code) == code_digest()


@pytest.mark.parametrize(
    "name",
    [
        "project/models/billing/invoices.sql",
        "project/macros/money.sql",
        "project/dbt_project.yml",
        "pipeline/landing/instants.py",
        "pipeline/ledger/close.py",
    ],
)
def test_an_edit_of_code_that_computes_changes_the_digest(name: str, code: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / name
    if not path.exists():  # the model's folder may have another name
        (path,) = (tmp_path / "project" / "models").rglob(path.name)
    path.write_text(path.read_text() + "\n")
    assert code_digest(*code) != code_digest()


@pytest.mark.parametrize("name", ["project/seeds/rates.csv", "pipeline/cli/app.py", "pipeline/exports/statements/content.py"])
def test_an_edit_of_prices_or_of_what_only_shows_invoices_does_not_change_it(
    name: str, code: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(path.read_text() + "\n")
    assert code_digest(*code) == code_digest()


@pytest.mark.parametrize("package", ["duckdb", "dbt-core"])
def test_another_version_of_an_engine_changes_the_digest(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_digest()
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99" if name == package else installed(name))
    assert code_digest() != before


def test_the_digest_covers_every_package_that_closing_imports() -> None:
    imported = grimp.build_graph("pipeline").find_upstream_modules("pipeline.ledger.close")
    assert {module.split(".")[1] for module in imported} | {"ledger"} <= set(COMPUTING_PACKAGES)


def test_a_close_records_the_version_for_people_and_the_digest_of_its_code(tmp_path: Path, parsed_project: Path) -> None:
    usage = [event("start", "2026-08-10T10:00:00Z", vcpu_count=2), event("stop", "2026-08-10T11:00:00Z")]
    steps = (("build", "--as-of", "2026-09-05T00:00:00Z"), ("close", "2026-08"))
    home = Home(prepare(tmp_path / "home", parsed_project, {Kind.USAGE: usage}, *steps))
    table = read_close(home, AUGUST, "close")
    (close,) = table.to_pylist()
    assert close["code_version"] == importlib.metadata.version("billhouse")
    assert close["code_digest"] == code_digest()
    assert billhouse(home.path, "verify").code == 0
    # A close of an earlier release has no such column: it reads as null, and its hash is over the columns that it has.
    path = close_folder(home, AUGUST) / "close.parquet"
    path.chmod(0o600)
    pq.write_table(table.drop_columns(["code_digest"]), path)
    (earlier,) = read_close(home, AUGUST, "close").to_pylist()
    assert earlier["code_digest"] is None
    without = {name: value for name, value in close.items() if name != "code_digest"}
    assert content_hash(earlier, {}) == content_hash(without, {}) != content_hash(close, {})
