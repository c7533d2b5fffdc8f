"""Invalid input gives one clear message with file, line, reason and next step; no traceback, and no valid row is lost."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.warehouse import print_invoices
from pipeline.core.home import Home
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
    ("make", "message"),
    [
        (_empty, "is empty"),
        (_truncated, "ends before its compressed data does"),
        (_without_timestamps, "has no column timestamp; it has: sandbox_id, user_id, event_type"),
        (_semicolons, "delimited by ';'"),
        (_folder, "is a folder"),
        (_missing, "does not exist"),
        (_unknown_format, "an unknown format"),
        (_no_parquet, "not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_the_others_land(
    make: Callable[[Path], Path], message: str, good: Path, run: Run, tmp_path: Path
) -> None:
    bad = make(tmp_path)
    outcome = run("land", "--json", bad, good)
    assert outcome.code == 1
    assert outcome.json["accepted"] == 1
    (problem,) = outcome.json["problems"]
    assert problem["file"] == str(bad)
    assert message in f"{problem['reason']} {problem['next_step']}"
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
    assert outcome.code == 1, "most of its rows were rejected"
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
