"""The usage that is billed for rows of other systems, from their file to the reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.home import Home
from pipeline.landing import land_files
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import find_source
from pipeline.warehouse.build import build
from tests.landing.raw import write_lines
from tests.landing.test_sources import E2B_EVENTS, SANDBOX, SHAPES, TEAM
from tests.support import copy_home, query

pytestmark = pytest.mark.slow
CRASHED = "icrashed000000000001a"
"""Created on 2026-09-03 at 08:00:00.5, and never heard of again."""
EXECUTIONS = (Decimal(43_200), Decimal(21_600))
"""vCPU-seconds and GB-seconds of the three executions: 30, 15 and 45 minutes of 8 vCPU and 4 GB."""


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SHAPES / name).read_text().splitlines()]


def _of(customer: str, sandbox: str, rows: list[dict[str, Any]]) -> list[str]:
    """The rows as those of another team and sandbox, with ids of their own."""
    return [
        json.dumps(row | {"id": f"{customer}-{row['id']}", "sandbox_team_id": customer, "sandbox_id": sandbox}) for row in rows
    ]


def _answer(folder: Path, time: str, sandbox_ids: list[str]) -> Path:
    """E2B's list of running sandboxes, in a file that its instant names."""
    rows = [{"sandboxID": sandbox_id, "startedAt": "2026-09-03T08:00:00Z", "state": "running"} for sandbox_id in sandbox_ids]
    path = folder / f"2026-09-03T{time}-00Z.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed_project: Path) -> Home:
    """A home with a customer for each case, built once."""
    folder = tmp_path_factory.mktemp("sources")
    home = copy_home(parsed_project, folder / "home")
    events = [row for row in _lines("e2b-redis-stream.jsonl") if row["sandbox_id"] == SANDBOX]
    closing = [row for row in events if row["type"].endswith((".paused", ".killed"))]
    period = _lines("daytona-usage-period.jsonl")[0]
    cases = [
        *(("e2b-events", [SHAPES / name]) for name in (*E2B_EVENTS[2:], *E2B_EVENTS[:2], *E2B_EVENTS)),
        ("e2b-events", [write_lines(folder / "closing.jsonl", _of("closing", "closing-box", closing))]),
        ("e2b-events", [write_lines(folder / "reversed.jsonl", _of("reversed", "reversed-box", events)[::-1])]),
        (
            "daytona-usage-periods",
            [
                write_lines(folder / "running.jsonl", [json.dumps(period | {"endAt": None})]),
                SHAPES / "daytona-usage-period.jsonl",
            ],
        ),
        ("lago-events", [SHAPES / "lago-event.jsonl"]),
        ("e2b-running", [_answer(folder, "08-20", [CRASHED, "i-other"]), _answer(folder, "08-21", ["i-other"])]),
    ]
    minutes = [{"listed_at": f"2026-09-03T08:{minute:02d}:00Z", "sandbox_ids": [CRASHED]} for minute in range(1, 20)]
    listings = write_lines(folder / "listings.jsonl", map(json.dumps, minutes))
    assert land_files(home, [listings], Kind.RUNNING).accepted == len(minutes)
    for source, paths in cases:
        summary = land_files(home, paths, source=find_source(home, source))
        assert summary.problems == [] and summary.quarantined == 0
    build(home, datetime(2026, 10, 1, tzinfo=UTC))
    return home


def _quantity(home: Home, customer: str, sandbox: str) -> tuple[Decimal, Decimal]:
    """vCPU-seconds and GB-seconds of memory of a sandbox."""
    rows = query(
        home,
        "select sum(vcpu_seconds) as vcpu, sum(memory_gb_seconds) as memory from sessions"
        " where customer_id = $1 and sandbox_id = $2",
        customer,
        sandbox,
    )
    return rows[0]["vcpu"], rows[0]["memory"]


def test_four_shapes_of_e2bs_events_together_and_twice_come_to_their_executions(built: Home) -> None:
    assert _quantity(built, TEAM, SANDBOX) == EXECUTIONS


def test_the_closing_events_of_e2b_alone_come_to_the_same(built: Home) -> None:
    assert _quantity(built, "closing", "closing-box") == EXECUTIONS


def test_the_order_in_which_e2bs_events_lie_in_a_file_means_nothing(built: Home) -> None:
    assert _quantity(built, "reversed", "reversed-box") == EXECUTIONS


def test_with_a_listing_each_minute_a_crashed_sandbox_is_billed_to_the_last_one_that_named_it(built: Home) -> None:
    (session,) = query(built, "from sessions where sandbox_id = $1", CRASHED)
    assert (session["ended_at"], session["end_reason"]) == (datetime(2026, 9, 3, 8, 20, tzinfo=UTC), "gone_from_listing")
    # 19 minutes and 59.5 seconds of 2 vCPU, the default of hobby.
    assert session["vcpu_seconds"] == Decimal("2399")


def test_a_period_that_grew_an_end_is_one_session(built: Home) -> None:
    sessions = query(built, "from sessions where customer_id = $1 and sandbox_id = 'sb1'", TEAM)
    assert len(sessions) == 1
    assert _quantity(built, TEAM, "sb1") == (Decimal(7_200), Decimal(14_400))


def test_a_lago_event_with_seconds_comes_to_these(built: Home) -> None:
    assert _quantity(built, TEAM, TEAM) == (Decimal(7_200), Decimal(0))


def test_a_void_of_the_stop_of_a_period_leaves_its_start(make_home: Callable[[str], Home], tmp_path: Path) -> None:
    """Both are from one row of the file."""
    home = make_home("home")
    land_files(home, [SHAPES / "daytona-usage-period.jsonl"], source=find_source(home, "daytona-usage-periods"))
    void = {"event_id": "p1:stop", "voided_at": "2026-09-06T00:00:00Z", "reason": "sent by mistake"}
    land_files(home, [write_lines(tmp_path / "voids.jsonl", [json.dumps(void)])], Kind.VOIDS)
    build(home, datetime(2026, 10, 1, tzinfo=UTC))
    (session,) = query(home, "from sessions")
    assert session["started_at"] == datetime(2026, 9, 5, 10, tzinfo=UTC)
    assert [row["reason"] for row in query(home, "from ignored_events")] == ["voided"]
