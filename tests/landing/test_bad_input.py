"""Bad input: one clear message that names file, line and reason and says what to do; no traceback, and nothing good is lost."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.warehouse import print_invoices
from pipeline.core.errors import PriceBookError
from pipeline.core.home import PROJECT_ROOT, SEEDS, Home
from pipeline.pricebook.price_book import check_price_book
from pipeline.warehouse.build import build
from tests.support import Outcome, event, query, write_jsonl

Run = Callable[..., Outcome]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "good.jsonl", [event("start", "2026-09-01T10:00:00Z")])


def _empty(folder: Path) -> Path:
    (folder / "empty.jsonl").touch()
    return folder / "empty.jsonl"


def _truncated(folder: Path) -> Path:
    rows = "".join(f'{{"row": {number}, "noise": "{hash(str(number))}"}}\n' for number in range(10_000))
    whole = gzip.compress(rows.encode())
    (folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    return folder / "cut.jsonl.gz"


def _without_timestamps(folder: Path) -> Path:
    table = pa.table({"sandbox_id": ["a"], "user_id": ["b"], "event_type": ["sandbox_started"]})
    pq.write_table(table, folder / "columns.parquet")
    return folder / "columns.parquet"


def _semicolons(folder: Path) -> Path:
    (folder / "semicolons.csv").write_text("sandbox_id;user_id;timestamp;event_type\na;b;2026-09-01T10:00:00Z;sandbox_started\n")
    return folder / "semicolons.csv"


def _folder(folder: Path) -> Path:
    (folder / "folder.jsonl").mkdir()
    return folder / "folder.jsonl"


def _missing(folder: Path) -> Path:
    return folder / "missing.jsonl"


def _unknown_format(folder: Path) -> Path:
    (folder / "usage.txt").write_text("?")
    return folder / "usage.txt"


def _no_parquet(folder: Path) -> Path:
    (folder / "not.parquet").write_text("PAR1 but not really")
    return folder / "not.parquet"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_empty, "is empty"),
        (_truncated, "ends before its compressed data does"),
        (_without_timestamps, "has no column timestamp; it has: sandbox_id, user_id, event_type"),
        (_semicolons, "delimited by ';'"),
        (_folder, "is a folder"),
        (_missing, "there is no such file"),
        (_unknown_format, "no known format"),
        (_no_parquet, "no Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_the_others_land(
    make: Callable[[Path], Path], told: str, good: Path, run: Run, tmp_path: Path
) -> None:
    bad = make(tmp_path)
    outcome = run("land", "--json", bad, good)
    assert outcome.code == 1
    assert outcome.json["accepted"] == 1
    (problem,) = outcome.json["problems"]
    assert problem["file"] == str(bad)
    assert told in f"{problem['reason']} {problem['next_step']}"
    assert problem["next_step"]
    assert str(bad) in outcome.stderr.replace("\n", "")
    assert "Traceback" not in outcome.stderr


def test_bad_rows_go_to_quarantine_with_their_line_and_the_good_ones_around_them_land(
    home: Home, run: Run, tmp_path: Path
) -> None:
    first = event("start", "2026-09-01T10:00:00Z", vcpu_count=2)
    rows: list[dict[str, Any] | str] = [
        first,
        "{not json",
        event("update", "2026-09-01T10:05:00Z", vcpu_count=-1),
        event("update", "yesterday"),
        event("update", "2099-01-01T00:00:00Z"),
        {**event("update", "2026-09-01T10:06:00Z"), "event_type": "SandboxExploded"},
        {**event("update", "2026-09-01T10:07:00Z"), "user_id": None},
        event("update", "2026-09-01T10:08:00Z", user="mallory"),
        {**first, "vcpu_count": 4},
        first,
        event("stop", "2026-09-01T11:00:00Z"),
    ]
    outcome = run("land", "--json", write_jsonl(tmp_path / "mixed.jsonl", rows))
    assert outcome.code == 1, "most of its rows were refused"
    assert outcome.json["by_reason"] == {
        "bad_event_type": 1,
        "bad_number": 1,
        "bad_timestamp": 1,
        "conflicting_duplicate": 1,
        "future_timestamp": 1,
        "missing_field": 1,
        "unreadable": 1,
        "user_mismatch": 1,
    }
    counts = {name: outcome.json[name] for name in ("received", "accepted", "duplicates", "quarantined")}
    assert counts == {"received": 11, "accepted": 2, "duplicates": 1, "quarantined": 8}
    assert run("build").code == 0
    quarantined = query(home, "select file_row, reason, raw_row, detail from quarantined_events order by file_row")
    assert [(row["file_row"], row["reason"]) for row in quarantined] == [
        (2, "unreadable"),
        (3, "bad_number"),
        (4, "bad_timestamp"),
        (5, "future_timestamp"),
        (6, "bad_event_type"),
        (7, "missing_field"),
        (8, "user_mismatch"),
        (9, "conflicting_duplicate"),
    ]
    assert quarantined[0]["raw_row"] == "{not json"
    assert all(row["detail"] for row in quarantined)
    (session,) = query(home, "select vcpu_seconds from sessions")
    assert session["vcpu_seconds"] == 7200


def test_a_subscription_to_an_unknown_plan_is_quarantined_with_the_plans_there_are(home: Home, run: Run, tmp_path: Path) -> None:
    rows = [
        {"customer_id": "ada", "plan_id": "gold", "effective_at": "2026-09-01T00:00:00Z"},
        {"customer_id": "bob", "plan_id": "pro", "effective_at": "2026-09-01T00:00:00Z"},
    ]
    outcome = run("land", "--json", "--kind", "subscriptions", write_jsonl(tmp_path / "plans.jsonl", rows))
    assert (outcome.code, outcome.json["accepted"], outcome.json["by_reason"]) == (0, 1, {"unknown_plan": 1})
    assert run("build").code == 0
    (row,) = query(home, "select file_row, detail from quarantined_events")
    assert row["file_row"] == 1
    assert "'gold'" in row["detail"]
    assert "hobby, pro" in row["detail"] or "enterprise, hobby, pro" in row["detail"]


@pytest.mark.parametrize("words", [("build", "--as-of", "tomorrow"), ("close", "2026-13"), ("land",), ("explode",)])
def test_wrong_usage_exits_with_2(words: tuple[str, ...], run: Run) -> None:
    outcome = run(*words)
    assert outcome.code == 2
    assert "Traceback" not in outcome.stderr


def test_a_price_book_with_overlapping_rates_is_refused_with_file_and_line(home: Home, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT_ROOT / "seeds", project / "seeds")
    rates = project / "seeds" / "rates.csv"
    rows = rates.read_text().splitlines()
    rates.write_text("\n".join([*rows, rows[1].replace("hobby-vcpu-usd-1", "hobby-vcpu-usd-2")]) + "\n")
    with pytest.raises(PriceBookError) as refused:
        build(home, project=project)
    (problem,) = refused.value.problems
    assert (problem.file, problem.line) == ("seeds/rates.csv", len(rows) + 1)
    assert "overlaps line 2" in problem.reason
    assert not home.analysts_file.exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("rates.csv", "0.000014", "0.0000140000001", "decimal places"),
        ("rates.csv", "hobby,,vcpu,USD", "hobby,,npu,USD", "meter_id 'npu' is not in seeds/meters.csv"),
        ("rates.csv", "hobby,,vcpu,USD", "gold,,vcpu,USD", "plan_id 'gold' is not in seeds/plans.csv"),
        ("rates.csv", "hobby,,vcpu,USD", ",,vcpu,USD", "must name a plan_id or a contract_id"),
        ("plans.csv", "3600", "an hour", "max_session_seconds"),
        ("plans.csv", ",true", ",", "has no default plan"),
        ("plans.csv", "4,4,5,", "4,4,5,true", "makes"),
        ("plans.csv", ",true", ",yes", "is_default is 'yes'"),
        (
            "signup_credits.csv",
            "hobby,,JPY,1970-01-01T00:00:00Z,15000",
            "hobby,,JPY,1970-01-01T00:00:00Z,10.5",
            "finer than JPY is",
        ),
        ("plan_fees.csv", "1970-01-01T00:00:00Z", "0", "write an instant"),
        ("plan_fees.csv", "150.00", "1_50.00", "write a number"),
        ("rates.csv", "hobby,,vcpu,USD,1970", "hobby,,vcpu,USD,2027", "begins after the plan does"),
        ("currencies.csv", "USD", "US\udcff", "is not UTF-8"),
    ],
)
def test_what_a_price_book_cannot_mean_is_told(file: str, old: str, new: str, told: str, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(SEEDS, seeds)
    text = (seeds / file).read_text()
    assert old in text
    (seeds / file).write_text(text.replace(old, new, 1), errors="surrogateescape")
    problems = check_price_book(seeds)
    has_a_line = "no default plan" not in told
    assert any(
        told in str(problem) and problem.file == f"seeds/{file}" and (problem.line or not has_a_line) for problem in problems
    ), problems


CONTRACT = "nova-2026,nova,Nova,2026-09-01T00:00:00Z,2027-09-01T00:00:00Z,USD,,,,,,,\n"
RATE = "{0},{1},vcpu,{2},{3},per_unit,0.1,,0,\n"


@pytest.mark.parametrize(
    ("rows", "line", "told"),
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
            "line 48 takes its place",
        ),
        ({"rates": RATE.format("older", "pro,", "USD", "1969-01-01T00:00:00Z")}, 47, "takes its place"),
        ({"plan_fees": "late,,nova-2026,USD,2028-01-01T00:00:00Z,arrears,5,\n"}, 6, "it can never apply"),
        ({"signup_credits": ",nova-2026,USD,2028-01-01T00:00:00Z,5\n"}, 8, "it can never apply"),
        ({"plans": "hobby,2026-09-01T00:00:00Z,Hobby,none,3600,20,2,0.5,1\n"}, 5, "does not say that hobby is the default plan"),
    ],
)
def test_terms_that_can_never_apply_are_refused_with_file_and_line(
    rows: dict[str, str], line: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-01")
    seeds = tmp_path / "seeds"
    shutil.copytree(SEEDS, seeds)
    for file, text in ({} if "contracts" in rows else {"contracts": CONTRACT} | rows).items() or rows.items():
        with (seeds / f"{file}.csv").open("a", encoding="utf-8") as lines:
            lines.write(text)
    problems = check_price_book(seeds)
    assert any(told in problem.reason and problem.line == line for problem in problems), problems


def test_a_default_plan_that_begins_after_the_books_open_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(SEEDS, seeds)
    plans = seeds / "plans.csv"
    plans.write_text(plans.read_text().replace("hobby,1970", "hobby,2026"))
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2025-12")
    assert any("begins after the books open with 2025-12" in problem.reason for problem in check_price_book(seeds))
    monkeypatch.setenv("BILLHOUSE_FIRST_BILLING_MONTH", "2026-01")
    assert check_price_book(seeds) == []


def test_the_price_book_that_comes_with_the_project_is_sound() -> None:
    assert check_price_book() == []


def test_prices_that_correct_each_other_are_told(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    shutil.copytree(SEEDS, seeds)
    lines = (seeds / "plan_fees.csv").read_text().splitlines()
    (pro,) = (line for line in lines if line.startswith("pro-usd-1,"))
    again = pro.replace("pro-usd-1,", "pro-usd-2,") + "pro-usd-1"
    edited = [line + "pro-usd-2" if line == pro else line for line in lines]
    (seeds / "plan_fees.csv").write_text("\n".join([*edited, again]) + "\n")
    problems = check_price_book(seeds)
    assert [problem.line for problem in problems if "none of them would hold" in problem.reason] == [
        lines.index(pro) + 1,
        len(lines) + 1,
    ]


def test_credit_finer_than_its_currency_is_quarantined(home: Home, run: Callable[..., Outcome], tmp_path: Path) -> None:
    rows = [
        {
            "grant_id": f"g{number}",
            "customer_id": "ada",
            "amount": amount,
            "currency": currency,
            "granted_at": "2026-09-01T00:00:00Z",
        }
        for number, (amount, currency) in enumerate([("10.005", "USD"), ("10.5", "JPY"), ("0.29", "USD"), ("10", "JPY")])
    ]
    landed = run("land", "--kind", "credit_grants", write_jsonl(tmp_path / "grants.jsonl", rows), "--json").json
    assert (landed["accepted"], landed["by_reason"]) == (2, {"bad_number": 2})


def test_a_name_that_looks_like_markup_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    amounts = dict.fromkeys(("subtotal_amount", "credits_applied_amount", "total_amount"), Decimal(1))
    invoice = {"invoice_id": "INV", "period": "2026-09", "customer_name": None, "customer_id": "[/x] [bold]y", "plan_id": "pro"}
    print_invoices([invoice | amounts | {"status": "draft", "currency": "USD"}])
    assert "[/x] [bold]y" in capsys.readouterr().out
