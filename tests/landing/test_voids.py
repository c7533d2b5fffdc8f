"""Voids: usage events and credit grants that are taken back by their id. Billing rules, section 3."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.core.home import Home
from pipeline.landing import LandedFile
from pipeline.landing.record_kinds import Kind
from tests.landing.raw import event_line, land, quarantined, rows_of, write_lines

VOIDED_AT = "2026-01-20T00:00:00Z"


@pytest.fixture
def home(tmp_path: Any) -> Home:
    return Home.open(tmp_path / "home")


def _land(home: Home, kind: Kind, name: str, *rows: Mapping[str, Any] | str) -> LandedFile:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return land(home, write_lines(home.path.parent / f"{name}.jsonl", lines), kind)


def _void(**more: Any) -> dict[str, Any]:
    return {"voided_at": VOIDED_AT, "reason": "sent twice", **more}


def _event(event_id: str, **more: Any) -> str:
    line = event_line(event_id)
    parsed = json.loads(line) if isinstance(line, str) else dict(line)
    return json.dumps(parsed | more)


def _grant(grant_id: str, **more: Any) -> dict[str, Any]:
    return {"grant_id": grant_id, "customer_id": "ada", "amount": 10, "granted_at": "2026-01-01T00:00:00Z", **more}


def test_a_void_names_exactly_one_id_an_instant_and_a_reason(home: Home) -> None:
    rows = [
        (_void(), "missing_field"),
        (_void(event_id="e", grant_id="g"), "bad_value"),
        (_void(event_id="e", reason=""), "missing_field"),
        ({"event_id": "e", "reason": "r"}, "missing_field"),
        (_void(event_id="e", voided_at="yesterday"), "bad_timestamp"),
        (_void(event_id="e", voided_at="2126-01-01T00:00:00Z"), "future_timestamp"),
    ]
    landed = _land(home, Kind.VOIDS, "voids", *(row for row, _ in rows), _void(event_id="e"), _void(grant_id="e"))
    assert (landed.accepted, landed.quarantined) == (2, len(rows)), "an event and a grant of the same id are two things"
    assert [row["reason"] for row in quarantined(home)] == [reason for _, reason in rows]
    assert {(row["event_id"], row["grant_id"], row["void_reason"]) for row in rows_of(home, "voids")} == {
        ("e", None, "sent twice"),
        (None, "e", "sent twice"),
    }


def test_the_same_void_again_is_a_duplicate_and_another_of_the_same_id_a_conflict(home: Home) -> None:
    first = _land(home, Kind.VOIDS, "a", _void(event_id="e"))
    second = _land(home, Kind.VOIDS, "b", _void(event_id="e"), _void(event_id="e", reason="another"))
    assert (first.accepted, second.duplicates, second.by_reason) == (1, 1, {"conflicting_duplicate": 1})


def test_a_voided_event_does_not_come_again_whether_the_void_or_the_event_landed_first(home: Home) -> None:
    _land(home, Kind.USAGE, "known", _event("known"))
    _land(home, Kind.VOIDS, "voids", _void(event_id="known"), _void(event_id="unknown"))
    again = _land(home, Kind.USAGE, "again", _event("known"), _event("known", vcpu_count=7), _event("unknown"), _event("new"))
    assert (again.accepted, again.duplicates, again.by_reason) == (1, 1, {"voided_id": 2})
    assert all("was voided at 2026-01-20T00:00:00Z" in row["detail"] for row in quarantined(home))
    assert {row["event_id"] for row in rows_of(home)} == {"known", "new"}


def test_a_voided_grant_does_not_come_again_and_the_right_one_lands_under_its_own_id(home: Home) -> None:
    _land(home, Kind.CREDIT_GRANTS, "wrong", _grant("g", amount=10_000))
    _land(home, Kind.VOIDS, "voids", _void(grant_id="g"))
    again = _land(
        home, Kind.CREDIT_GRANTS, "again", _grant("g", amount=100), _grant("g", amount=10_000), _grant("g2", amount=100)
    )
    assert (again.accepted, again.duplicates, again.by_reason) == (1, 1, {"voided_id": 1})


def test_a_sandbox_whose_events_of_the_wrong_user_are_voided_belongs_to_the_right_one(home: Home) -> None:
    """By its first event that is not voided: else the right user's events would all be `user_mismatch`."""
    _land(home, Kind.USAGE, "wrong", _event("wrong", sandbox_id="box", user_id="eve"))
    before = _land(home, Kind.USAGE, "before", _event("before", sandbox_id="box", user_id="ada"))
    assert before.by_reason == {"user_mismatch": 1}
    _land(home, Kind.VOIDS, "voids", _void(event_id="wrong"))
    right = _land(
        home,
        Kind.USAGE,
        "right",
        _event("right", sandbox_id="box", user_id="ada"),
        _event("late", sandbox_id="box", user_id="eve"),
    )
    assert (right.accepted, right.by_reason) == (1, {"user_mismatch": 1})


def test_voids_land_from_csv(home: Home) -> None:
    path = write_lines(home.path.parent / "voids.csv", ["grant_id,voided_at,reason", f"g,{VOIDED_AT},wrong amount"])
    assert land(home, path, Kind.VOIDS).accepted == 1
