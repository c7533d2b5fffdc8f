"""A price book that a spreadsheet program saved is read the same by all readers, or reported by file and line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from pipeline.core.errors import PriceBookError
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.ledger.price_check import check_prices
from pipeline.pricebook.edits import _rows
from pipeline.pricebook.price_book import known_ids, minor_unit_digits
from pipeline.pricebook.schema import FILES
from pipeline.pricebook.seed_files import normalize_seed_file, read_seed
from pipeline.pricebook.validation import check_price_book
from pipeline.warehouse.build import build
from tests.reference.price_book import PriceBook


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT_ROOT / "seeds", tmp_path / "project" / "seeds")
    return tmp_path / "project" / "seeds"


def _with_byte_order_mark(text: str) -> str:
    return "\ufeff" + text


def _with_windows_line_ends(text: str) -> str:
    return text.replace("\n", "\r\n")


def _all_in_quotes(text: str) -> str:
    return "".join(",".join(f'"{cell}"' for cell in line.split(",")) + "\n" for line in text.splitlines())


def _without_last_empty_cells(text: str) -> str:
    return "".join(line.rstrip(",") + "\n" for line in text.splitlines())


def _without_last_line_end(text: str) -> str:
    return text.rstrip("\n")


def _as_saved_by_a_spreadsheet(text: str) -> str:
    return _with_byte_order_mark(_with_windows_line_ends(_without_last_empty_cells(text)))


EQUIVALENT_FORMS = [
    *(_with_byte_order_mark, _with_windows_line_ends, _all_in_quotes, _without_last_empty_cells, _without_last_line_end),
    _as_saved_by_a_spreadsheet,
]


def _change_all(seeds: Path, change: Callable[[str], str]) -> None:
    for name in FILES:
        text = (seeds / name).read_text()
        (seeds / name).write_text(change(text), encoding="utf-8", newline="")


def _loaded_by_dbt(path: Path) -> list[tuple[object, ...]]:
    """Load a seed with the statement in macros/seeds.sql, all columns as text."""
    header = read_seed(path).header
    macro = (PROJECT_ROOT / "macros" / "seeds.sql").read_text()
    options = macro.partition("(format")[2].partition(")")[0]
    with duckdb.connect() as connection:
        connection.execute(f"create table seed ({', '.join(f'{name} varchar' for name in header)})")
        connection.execute(f"copy seed from '{path}' (format{options})")
        return [tuple(cell or "" for cell in row) for row in connection.execute("from seed").fetchall()]


@pytest.mark.parametrize("change", EQUIVALENT_FORMS)
def test_equivalent_forms_of_a_file_are_read_the_same_by_all_readers(change: Callable[[str], str], seeds: Path) -> None:
    original = {name: read_seed(seeds / name).rows for name in FILES}
    reference, digits = repr(PriceBook.read(seeds)), minor_unit_digits(seeds)
    _change_all(seeds, change)
    assert check_price_book(seeds) == []
    for name in FILES:
        assert [row for _, row in read_seed(seeds / name).rows] == [row for _, row in original[name]]
        assert _rows(seeds / name) == original[name]
        assert _loaded_by_dbt(seeds / name) == [tuple(row.values()) for _, row in original[name]]
    assert known_ids("plans.csv", "plan_id", seeds) == {"hobby", "pro", "enterprise"}
    assert minor_unit_digits(seeds) == digits
    # Versions compare by identity; equal texts mean equal values.
    assert len(repr(PriceBook.read(seeds))) == len(reference)


@pytest.mark.parametrize(
    ("change", "line", "reason"),
    [
        (lambda text: text.replace(",", ";"), 1, "is delimited by semicolons."),
        (lambda text: text.replace(",", "\t"), 1, "is delimited by tabs."),
        (lambda text: text + "\n", 5, "is an empty row."),
        (lambda text: text + ",,,,,,,,\n", 5, "is an empty row."),
        (lambda text: "".join(f"{row},,\n" for row in text.splitlines()), 1, "has a column without a name."),
        (lambda text: text.replace("pro,", "pro ,", 1), 3, "plan_id is 'pro ', with blanks around it."),
    ],
)
def test_a_file_that_dbt_would_read_differently_is_rejected_and_normalized_without_changing_values(
    change: Callable[[str], str], line: int, reason: str, seeds: Path, tmp_path: Path
) -> None:
    path = seeds / "plans.csv"
    original = path.read_bytes()
    path.write_text(change(original.decode()), newline="")
    problems = check_price_book(seeds)
    assert (line, reason) in [(problem.line, problem.reason) for problem in problems]
    assert any("check-prices --fix" in problem.next_step for problem in problems)
    with pytest.raises(PriceBookError):
        build(Home.open(tmp_path / "home"), project=seeds.parent)
    result = check_prices(Home.open(tmp_path / "home"), seeds=seeds, is_to_be_fixed=True)
    assert (result.problems, result.fixed) == ([], ["plans.csv"])
    assert path.read_bytes() == original
    assert not normalize_seed_file(path)


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("plans.csv", "1970-01-01T00:00:00Z", "2026-09-01 00:00", "in UTC 2026-09-01T00:00:00Z"),
        ("plans.csv", "1970-01-01T00:00:00Z", "01/09/2026", "day and month are ambiguous"),
        ("plans.csv", "1970-01-01T00:00:00Z", "01.09.2026 00:00", "day and month are ambiguous"),
        ("rates.csv", "0.000014", '"0,000014"', "use a point as decimal separator"),
        ("rates.csv", "0.000014", "1.4E-05", "write a number"),
        ("plans.csv", "plan_id,", "plan_id,plan_id,", "has two columns named plan_id"),
        ("plans.csv", "Hobby", "NULL", "plan_name is 'NULL'"),
        ("currencies.csv", "USD,2", "USD,2,3", "has 3 cells, but the header has 2 columns"),
    ],
)
def test_a_reformatted_value_is_rejected_with_its_line_and_the_right_notation(
    file: str, old: str, new: str, reason: str, seeds: Path
) -> None:
    text = (seeds / file).read_text()
    assert old in text
    (seeds / file).write_text(text.replace(old, new, 1))
    assert any(reason in problem.reason and problem.line for problem in check_price_book(seeds)), check_price_book(seeds)


def test_a_semicolon_file_with_decimal_commas_is_normalized_and_its_numbers_rejected(seeds: Path, tmp_path: Path) -> None:
    """Prices are never changed automatically: 0,000014 must be corrected by hand."""
    path = seeds / "rates.csv"
    path.write_text(path.read_text().replace(",", ";").replace("0.000014", "0,000014"))
    result = check_prices(Home.open(tmp_path / "home"), seeds=seeds, is_to_be_fixed=True)
    assert "0,000014" in path.read_text()
    assert any("use a point as decimal separator" in problem.reason for problem in result.problems)


def test_landing_reads_plans_of_a_reformatted_price_book_or_reports_why_not(seeds: Path) -> None:
    """A byte order mark is not part of a column name; semicolons are rejected."""
    _change_all(seeds, _as_saved_by_a_spreadsheet)
    assert "USD" in known_ids("currencies.csv", "currency", seeds)
    (seeds / "plans.csv").write_text((seeds / "plans.csv").read_text().replace(",", ";"))
    with pytest.raises(PriceBookError, match="semicolons"):
        known_ids("plans.csv", "plan_id", seeds)


def test_a_build_loads_a_price_book_that_a_spreadsheet_saved(make_home: Callable[[str], Home], tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("models", "macros", "tests"):
        project.mkdir(exist_ok=True)
        (project / name).symlink_to(PROJECT_ROOT / name)
    for name in ("dbt_project.yml", "profiles.yml"):
        (project / name).symlink_to(PROJECT_ROOT / name)
    shutil.copytree(PROJECT_ROOT / "seeds", project / "seeds")
    _change_all(project / "seeds", _as_saved_by_a_spreadsheet)
    home = make_home("home")
    assert build(home, project=project).step_count > 100
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        loaded = connection.execute("select plan_id from price_book.plans order by 1").fetchall()
    assert [plan for (plan,) in loaded] == ["enterprise", "hobby", "pro"]
