"""Subscriptions, customers and credit grants: duplicates, corrections, conflicts and errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.home import Home
from pipeline.landing import LandedFile
from pipeline.landing.record_kinds import Kind
from tests.landing.raw import event_line, land, landed_files, quarantined, rows_of, write_lines


def _land(home: Home, kind: Kind, *rows: Mapping[str, Any] | str, name: str = "rows") -> LandedFile:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return land(home, write_lines(home.path.parent / f"{name}.jsonl", lines), kind)


def _subscription(plan_id: str, **more: Any) -> dict[str, Any]:
    return {"customer_id": "ada", "plan_id": plan_id, "effective_at": "2026-01-01T00:00:00Z", **more}


def _standing(home: Home, collection: str, *key: str) -> dict[Any, dict[str, Any]]:
    """The latest landed row of each key, as the models choose it."""
    sequence = {row["file_id"]: row["landed_sequence"] for row in landed_files(home)}
    in_order = sorted(rows_of(home, collection), key=lambda row: (sequence[row["file_id"]], row["file_row"]))
    return {tuple(row[column] for column in key): row for row in in_order}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def test_a_later_subscription_record_for_the_same_instant_corrects_the_earlier_one(home: Home) -> None:
    first = _land(home, Kind.SUBSCRIPTIONS, _subscription("pro"), name="a")
    again = _land(
        home, Kind.SUBSCRIPTIONS, _subscription("pro"), _subscription("pro", effective_at="2026-01-01 01:00:00+01"), name="b"
    )
    corrected = _land(home, Kind.SUBSCRIPTIONS, _subscription("enterprise"), name="c")
    assert [(file.accepted, file.duplicates) for file in (first, again, corrected)] == [(1, 0), (0, 2), (1, 0)]
    (row,) = _standing(home, "subscriptions", "customer_id", "effective_at").values()
    assert (row["plan_id"], row["effective_at"]) == ("enterprise", datetime(2026, 1, 1, tzinfo=UTC))


def test_a_correction_can_be_taken_back(home: Home) -> None:
    """pro, hobby, pro: the third is no duplicate of the first, since the second stood between them."""
    rows = [_subscription("pro"), _subscription("hobby"), _subscription("hobby"), _subscription("pro")]
    landed = _land(home, Kind.SUBSCRIPTIONS, *rows, name="one")
    assert (landed.accepted, landed.duplicates) == (3, 1)
    for place, (plan, accepted) in enumerate([("pro", 0), ("hobby", 1), ("pro", 1), ("pro", 0)]):
        landed = _land(home, Kind.SUBSCRIPTIONS, _subscription(plan), " " * place, name=f"file-{place}")
        expected = accepted if not landed.is_already_landed else 0
        assert landed.accepted == expected
    assert [row["plan_id"] for row in _standing(home, "subscriptions", "customer_id", "effective_at").values()] == ["pro"]


def test_records_of_another_instant_or_customer_are_others(home: Home) -> None:
    rows = [
        _subscription("pro"),
        _subscription("pro", effective_at="2026-01-01T00:00:00.000001Z"),
        _subscription("pro", customer_id="bob"),
        _subscription("hobby", effective_at="2031-01-01T00:00:00Z"),
    ]
    assert _land(home, Kind.SUBSCRIPTIONS, *rows).accepted == 4, "a plan may change in the future"


def test_bad_subscriptions_are_quarantined_with_their_reason(home: Home) -> None:
    rows: list[tuple[Mapping[str, Any] | str, str]] = [
        (_subscription("pro", customer_id=""), "bad_id"),
        ({"customer_id": "ada", "plan_id": "pro"}, "missing_field"),
        (_subscription("platinum"), "unknown_plan"),
        (_subscription("PRO"), "unknown_plan"),
        (_subscription("pro", effective_at="2026-01-01"), "bad_timestamp"),
        (_subscription("pro", effective_at="1969-12-31T23:59:59Z"), "bad_timestamp"),
        ("pro,ada", "unreadable"),
    ]
    landed = _land(home, Kind.SUBSCRIPTIONS, *(row for row, _ in rows), _subscription("pro"))
    assert (landed.accepted, landed.quarantined) == (1, len(rows))
    found = quarantined(home)
    assert [(row["file_row"], row["reason"], row["kind"]) for row in found] == [
        (line, reason, "subscriptions") for line, (_, reason) in enumerate(rows, start=1)
    ]
    assert all(row["detail"] and row["event_id"] is None for row in found)
    assert [row["raw_row"] for row in found] == [row if isinstance(row, str) else json.dumps(row) for row, _ in rows]


def test_a_customer_record_lands_where_it_differs_from_the_latest_before_it(home: Home) -> None:
    ada = {"customer_id": "ada", "name": "Ada", "email": "ada@example.com", "currency": "USD", "monthly_spend_limit": "250.50"}
    first = _land(home, Kind.CUSTOMERS, ada, {"customer_id": "bob"}, name="a")
    second = _land(
        home, Kind.CUSTOMERS, {**ada, "monthly_spend_limit": 250.5}, {"customer_id": "ada", "name": "Ada L."}, name="b"
    )
    third = _land(home, Kind.CUSTOMERS, {**ada, "monthly_spend_limit": "250.500"}, name="c")
    assert [(file.accepted, file.duplicates) for file in (first, second, third)] == [(2, 0), (1, 1), (1, 0)]


def test_a_json_null_clears_a_field_and_an_absent_key_or_an_empty_text_names_nothing(home: Home) -> None:
    _land(home, Kind.CUSTOMERS, {"customer_id": "ada", "name": None, "email": "", "monthly_spend_limit": None})
    path = write_lines(home.path.parent / "b.csv", ["customer_id,name,email", "bob,,bob@example.com"])
    assert land(home, path, Kind.CUSTOMERS).accepted == 1
    cleared = {row["customer_id"]: (row["name"], row["email"], row["cleared_fields"]) for row in rows_of(home, "customers")}
    assert cleared == {"ada": (None, None, "name,monthly_spend_limit"), "bob": (None, "bob@example.com", None)}


def test_a_required_field_is_not_cleared(home: Home) -> None:
    assert _land(home, Kind.CUSTOMERS, {"customer_id": None, "name": "Ada"}).by_reason == {"missing_field": 1}


def test_bad_customers_are_quarantined_with_their_reason(home: Home) -> None:
    rows: list[tuple[dict[str, Any], str]] = [
        ({"name": "without id"}, "missing_field"),
        ({"customer_id": "a", "currency": "usd"}, "unknown_currency"),
        ({"customer_id": "a", "monthly_spend_limit": -1}, "bad_number"),
        ({"customer_id": "a", "monthly_spend_limit": "1000000000.01"}, "bad_number"),
        ({"customer_id": "a", "created_at": "yesterday"}, "bad_timestamp"),
        ({"customer_id": "a", "language": "fr"}, "bad_value"),
    ]
    good = {"customer_id": "a", "monthly_spend_limit": "1000000000", "created_at": "2026-01-01T00:00:00Z"}
    landed = _land(home, Kind.CUSTOMERS, *(row for row, _ in rows), good)
    assert (landed.accepted, landed.quarantined) == (1, len(rows))
    assert [row["reason"] for row in quarantined(home)] == [reason for _, reason in rows]


def _grant(grant_id: str, **more: Any) -> dict[str, Any]:
    return {"grant_id": grant_id, "customer_id": "ada", "amount": 10, "granted_at": "2026-01-01T00:00:00Z", **more}


def test_missing_fields_of_a_credit_grant_have_defaults(home: Home) -> None:
    """A grant that names the defaults is the same grant."""
    named = {"currency": "USD", "priority": 100, "scope": "all", "source": "promotional", "expires_at": None}
    landed = _land(home, Kind.CREDIT_GRANTS, _grant("g"), _grant("g", **named), {**_grant(""), "id": "g2"})
    assert (landed.accepted, landed.duplicates) == (2, 1)
    by_id = {row["grant_id"]: row for row in rows_of(home, "credit_grants")}
    assert sorted(by_id) == ["g", "g2"]
    assert {name: by_id["g"][name] for name in named} == named
    assert by_id["g"]["amount"] == Decimal(10)


def test_a_second_credit_grant_with_the_same_id_is_rejected(home: Home) -> None:
    """Credit that was given is not taken back by sending its id again."""
    first = _land(home, Kind.CREDIT_GRANTS, _grant("g"), name="a")
    second = _land(home, Kind.CREDIT_GRANTS, _grant("g", amount=99), _grant("g", amount="10.000"), name="b")
    assert (first.accepted, second.accepted, second.duplicates, second.by_reason) == (1, 0, 1, {"conflicting_duplicate": 1})
    assert [row["amount"] for row in rows_of(home, "credit_grants")] == [Decimal(10)]


def test_bad_credit_grants_are_quarantined_with_their_reason(home: Home) -> None:
    rows = [
        (_grant(""), "bad_id"),
        (_grant("g", customer_id=None), "missing_field"),
        (_grant("g", amount=None), "missing_field"),
        (_grant("g", amount=0), "bad_number"),
        (_grant("g", amount=-5), "bad_number"),
        (_grant("g", amount="1e-30"), "bad_number"),
        (_grant("g", amount="Infinity"), "bad_number"),
        (_grant("g", priority=1.5), "bad_number"),
        (_grant("g", priority=99999999999), "bad_number"),
        (_grant("g", currency="XXX"), "unknown_currency"),
        (_grant("g", scope="some"), "bad_value"),
        (_grant("g", source="signup"), "bad_value"),
        (_grant("g", granted_at="now"), "bad_timestamp"),
        (_grant("g", expires_at="never"), "bad_timestamp"),
        (_grant("g", granted_at="9999-12-31T23:59:59Z"), "bad_timestamp"),
    ]
    landed = _land(home, Kind.CREDIT_GRANTS, *(row for row, _ in rows), _grant("g"))
    assert (landed.accepted, landed.quarantined) == (1, len(rows))
    assert [row["reason"] for row in quarantined(home)] == [reason for _, reason in rows]


def test_a_grant_that_expires_after_the_year_9998_never_does(home: Home) -> None:
    """9999-12-31 is what many systems write for never."""
    assert _land(home, Kind.CREDIT_GRANTS, _grant("g", expires_at="9999-12-31T23:59:59Z")).accepted == 1
    assert [row["expires_at"] for row in rows_of(home, "credit_grants")] == [None]


def test_records_land_from_csv_and_parquet_too(home: Home, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.csv", ["customer_id,plan_id,effective_at", "ada,pro,2026-01-01T00:00:00Z"])
    assert land(home, path, Kind.SUBSCRIPTIONS).accepted == 1
    instants = pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", tz="UTC"))
    table = pa.table({"customer_id": ["ada", "bob"], "plan_id": ["pro", "pro"], "effective_at": instants})
    pq.write_table(table, tmp_path / "b.parquet")
    landed = land(home, tmp_path / "b.parquet", Kind.SUBSCRIPTIONS)
    assert (landed.accepted, landed.duplicates) == (1, 1)


def test_a_file_that_landed_as_the_wrong_kind_lands_as_the_right_one(home: Home) -> None:
    """Forgetting --kind leaves the rows in quarantine, and does not keep them from landing when it is called again with it."""
    wrong = _land(home, Kind.USAGE, _subscription("pro"))
    right = _land(home, Kind.SUBSCRIPTIONS, _subscription("pro"))
    assert wrong.by_reason == {"missing_field": 1}
    assert (right.accepted, right.is_already_landed) == (1, False)
    assert _land(home, Kind.SUBSCRIPTIONS, _subscription("pro")).is_already_landed
    assert len(rows_of(home, "subscriptions")) == len(quarantined(home)) == 1
    assert [row["kind"] for row in landed_files(home)] == ["usage", "subscriptions"]


def test_kinds_do_not_meet(home: Home) -> None:
    """An id is an id among its own kind only."""
    _land(home, Kind.CREDIT_GRANTS, _grant("same"), name="a")
    _land(home, Kind.USAGE, event_line("same"), name="b")
    _land(home, Kind.CUSTOMERS, {"customer_id": "same"}, name="c")
    assert [row["accepted_rows"] for row in landed_files(home)] == [1, 1, 1]
