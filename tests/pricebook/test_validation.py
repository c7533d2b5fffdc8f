"""An invalid price book is reported by file and line, and nothing is built from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.core.errors import PriceBookError
from pipeline.core.home import PROJECT_ROOT, Home
from pipeline.pricebook.price_book import SEEDS
from pipeline.pricebook.validation import check_price_book
from pipeline.warehouse.build import build


def test_a_price_book_with_overlapping_rates_is_rejected_with_file_and_line(home: Home, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT_ROOT / "seeds", project / "seeds")
    rates = project / "seeds" / "rates.csv"
    rows = rates.read_text().splitlines()
    rates.write_text("\n".join([*rows, rows[1].replace("hobby-vcpu-usd-1", "hobby-vcpu-usd-2")]) + "\n")
    with pytest.raises(PriceBookError) as refused:
        build(home, project=project)
    (problem,) = refused.value.problems
    assert (problem.file, problem.line) == ("seeds/rates.csv", len(rows) + 1)
    assert "has the same key as line 2" in problem.reason
    assert not home.analysts_file.exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("rates.csv", "0.000014", "0.0000140000001", "decimal places"),
        ("rates.csv", "hobby,,vcpu,USD", "hobby,,npu,USD", "meter_id 'npu' is not in seeds/meters.csv"),
        ("rates.csv", "hobby,,vcpu,USD", "gold,,vcpu,USD", "plan_id 'gold' is not in seeds/plans.csv"),
        ("rates.csv", "hobby,,vcpu,USD", ",,vcpu,USD", "must have either a plan_id or a contract_id"),
        ("plans.csv", "3600", "an hour", "max_session_seconds"),
        ("plans.csv", ",true", ",", "has no default plan"),
        ("plans.csv", "4,4,5,", "4,4,5,true", "declares pro a default plan"),
        ("plans.csv", ",true", ",yes", "is_default is 'yes'"),
        (
            "signup_credits.csv",
            "hobby,,JPY,1970-01-01T00:00:00Z,15000",
            "hobby,,JPY,1970-01-01T00:00:00Z,10.5",
            "has more decimals than JPY",
        ),
        ("plan_fees.csv", "1970-01-01T00:00:00Z", "0", "write an instant"),
        ("plan_fees.csv", "150.00", "1_50.00", "write a number"),
        ("rates.csv", "hobby,,vcpu,USD,1970", "hobby,,vcpu,USD,2027", "starts after the plan"),
        ("currencies.csv", "USD", "US\udcff", "is not UTF-8"),
    ],
)
def test_an_invalid_price_book_is_reported_by_file_and_line(file: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(SEEDS, seeds)
    text = (seeds / file).read_text()
    assert old in text
    (seeds / file).write_text(text.replace(old, new, 1), errors="surrogateescape")
    problems = check_price_book(seeds)
    has_a_line = "no default plan" not in message
    assert any(
        message in str(problem) and problem.file == f"seeds/{file}" and (problem.line or not has_a_line) for problem in problems
    ), problems


CONTRACT = "nova-2026,nova,Nova,2026-09-01T00:00:00Z,2027-09-01T00:00:00Z,USD,,,,,,,\n"
RATE = "{0},{1},vcpu,{2},{3},per_unit,0.1,,0,\n"


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ({"contracts": "nova-2026,nova,Nova,2026-09-01T00:00:00Z,2026-08-01T00:00:00Z,USD,,,,,,,\n"}, 2, "ends before it starts"),
        ({"contracts": "nova-2025,nova,Nova,2025-01-01T00:00:00Z,2026-01-01T00:00:00Z,USD,,,,,,,\n"}, 2, "before the books open"),
        ({"rates": RATE.format("late", ",nova-2026", "USD", "2027-09-01T00:00:00Z")}, 47, "ends at 2027-09-01T00:00:00Z"),
        ({"rates": RATE.format("euro", ",nova-2026", "EUR", "2026-09-01T00:00:00Z")}, 47, "it can never apply"),
        (
            {
                "rates": RATE.format("early", ",nova-2026", "USD", "2026-01-01T00:00:00Z")
                + RATE.format("start", ",nova-2026", "USD", "2026-09-01T00:00:00Z")
            },
            47,
            "line 48 replaces it",
        ),
        ({"rates": RATE.format("older", "pro,", "USD", "1969-01-01T00:00:00Z")}, 47, "replaces it"),
        ({"plan_fees": "late,,nova-2026,USD,2028-01-01T00:00:00Z,arrears,5,\n"}, 6, "it can never apply"),
        ({"signup_credits": ",nova-2026,USD,2028-01-01T00:00:00Z,5\n"}, 8, "it can never apply"),
        ({"plans": "hobby,2026-09-01T00:00:00Z,Hobby,none,3600,20,2,0.5,1\n"}, 5, "does not declare hobby the default plan"),
    ],
)
def test_terms_that_can_never_apply_are_reported_with_file_and_line(
    rows: dict[str, str], line: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-01")
    seeds = tmp_path / "seeds"
    shutil.copytree(SEEDS, seeds)
    for file, text in ({} if "contracts" in rows else {"contracts": CONTRACT} | rows).items() or rows.items():
        with (seeds / f"{file}.csv").open("a", encoding="utf-8") as lines:
            lines.write(text)
    problems = check_price_book(seeds)
    assert any(message in problem.reason and problem.line == line for problem in problems), problems


def test_a_default_plan_that_starts_after_the_books_open_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(SEEDS, seeds)
    plans = seeds / "plans.csv"
    plans.write_text(plans.read_text().replace("hobby,1970", "hobby,2026"))
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2025-12")
    assert any("starts after the books open with 2025-12" in problem.reason for problem in check_price_book(seeds))
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-01")
    assert check_price_book(seeds) == []


def test_the_price_book_of_the_project_is_valid() -> None:
    assert check_price_book() == []


def test_prices_that_correct_each_other_are_reported(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(SEEDS, seeds)
    lines = (seeds / "plan_fees.csv").read_text().splitlines()
    (pro,) = (line for line in lines if line.startswith("pro-usd-1,"))
    correction = pro.replace("pro-usd-1,", "pro-usd-2,") + "pro-usd-1"
    edited = [line + "pro-usd-2" if line == pro else line for line in lines]
    (seeds / "plan_fees.csv").write_text("\n".join([*edited, correction]) + "\n")
    problems = check_price_book(seeds)
    assert [problem.line for problem in problems if "none of them would be in force" in problem.reason] == [
        lines.index(pro) + 1,
        len(lines) + 1,
    ]
