"""The wheel works without the checkout: code, models, checks and price book are in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.core.home import PROJECT_ROOT
from pipeline.warehouse.project import LINKED
from tests.landing.raw import event_line

pytestmark = pytest.mark.slow

DRIVER = """
import pathlib, sys
sys.path = [path for path in sys.path if not pathlib.Path(path, "dbt_project.yml").exists()]  # an editable install's checkout
import pipeline
from pipeline.cli.app import main
assert pipeline.__file__.startswith({target!r}), pipeline.__file__
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=PROJECT_ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("billhouse-*.whl")
    return built


def test_the_wheel_holds_the_dbt_project_whole(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packaged = {"models", "macros", "seeds", "sources", "tests/warehouse"}
    expected = {
        f"billhouse_project/{path.relative_to(PROJECT_ROOT)}"
        for path in (PROJECT_ROOT / "dbt_project.yml", PROJECT_ROOT / "profiles.yml", *_files_in(packaged))
    }
    assert {name for name in names if name.startswith("billhouse_project/")} == expected
    assert {"pipeline/cli/app.py", "orchestration/definitions.py"} <= names
    assert not [name for name in names if name.startswith("tests/")]


def test_an_editable_install_has_one_dbt_project_that_of_the_checkout(tmp_path: Path) -> None:
    program = f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        assert not [name for name in archive.namelist() if name.startswith("billhouse_project/")]


def test_an_installed_wheel_lands_builds_and_closes_elsewhere_with_a_price_book_of_its_own(wheel: Path, tmp_path: Path) -> None:
    target, elsewhere, seeds = tmp_path / "installed", tmp_path / "elsewhere", tmp_path / "prices"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, capture_output=True)
    for path in target.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)  # as an administrator installs it
    elsewhere.mkdir()
    shutil.copytree(PROJECT_ROOT / "seeds", seeds, ignore=shutil.ignore_patterns("_*", "stripe_currencies.csv"))
    fees = (seeds / "plan_fees.csv").read_text()
    assert ",150" in fees
    (seeds / "plan_fees.csv").write_text(fees.replace(",150", ",175"))
    (elsewhere / "usage.jsonl").write_text(event_line("e1", timestamp="2026-09-01T10:00:00Z") + "\n")
    (elsewhere / "plans.csv").write_text("customer_id,plan_id,effective_at\nada,pro,2026-09-01T00:00:00Z\n")

    def run(*words: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BILLHOUSE_")}
        environment |= {"PYTHONPATH": str(target), "BILLHOUSE_SEEDS": str(seeds)}
        program = DRIVER.format(target=str(target))
        done = subprocess.run(
            [sys.executable, "-c", program, "--home", "home", *words],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("land", "usage.jsonl")
    run("land", "--kind", "subscriptions", "plans.csv")
    run("build", "--as-of", "2026-10-05T00:00:00Z")
    run("close", "2026-09")
    assert "175.00 USD" in run("invoices", "2026-09")
    (project,) = (elsewhere / "home" / ".dbt").glob("project-*")
    assert {(project / name).resolve() for name in LINKED} == {target / "billhouse_project" / name for name in LINKED}
    assert (elsewhere / "home" / "ledger" / "closes" / "2026-09" / "price_book" / "plan_fees.csv").read_text() == (
        seeds / "plan_fees.csv"
    ).read_text()


def _files_in(folders: set[str]) -> set[Path]:
    return {path for folder in folders for path in (PROJECT_ROOT / folder).rglob("*") if path.is_file()}
