"""Every row is accepted, a duplicate or in quarantine, as a row-by-row reference says."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.home import Home
from pipeline.landing import land_files
from tests.landing.raw import landed_files, quarantined, rows_of, write_lines
from tests.reference.acceptance import Acceptance, accept
from tests.reference.landing_rows import event_row
from tests.reference.records import Event, EventType

LANDED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATEST = LANDED_AT + timedelta(hours=24)
MICROSECOND = timedelta(microseconds=1)

events = st.builds(
    Event,
    event_id=st.sampled_from([None, "a", "b", "c", "d", "e", "f"]),
    sandbox_id=st.sampled_from(["s", "t", "u"]),
    user_id=st.sampled_from(["ada", "ada", "bob", "eve"]),
    event_at=st.sampled_from(
        [LATEST, LANDED_AT, datetime(2026, 2, 28, 23, 59, 59, 999_999, UTC), datetime(2024, 2, 29, tzinfo=UTC)]
    ),
    event_type=st.sampled_from(EventType),
    vcpu_count=st.sampled_from([None, Decimal("0"), Decimal("0.5"), Decimal("1000000")]),
    memory_gb=st.just(None),
    storage_gb=st.just(None),
    execution_id=st.sampled_from([None, None, None, "run"]),
).map(
    lambda event: (
        event
        if event.event_type is not EventType.USAGE
        else replace(event, vcpu_count=None, tokens=event.vcpu_count or Decimal("1"))
    )
)
"""Few values of each, so that rows repeat, contradict and claim each other's sandboxes."""

ERRORS: list[tuple[str, dict[str, object]]] = [
    ("missing_field", {"user_id": None}),
    ("bad_id", {"sandbox_id": ""}),
    ("bad_id", {"user_id": " "}),
    ("bad_id", {"user_id": {"id": 7}}),
    ("bad_id", {"sandbox_id": ["box"]}),
    ("bad_id", {"sandbox_id": True}),
    ("bad_id", {"user_id": 1.5}),
    ("bad_id", {"execution_id": "\u202egnidaer", "vcpu_count": -1}),
    ("missing_field", {"timestamp": ...}),
    ("missing_field", {"event_type": None, "vcpu_count": "nonsense, but this is looked for later"}),
    ("bad_timestamp", {"timestamp": "soon"}),
    ("bad_timestamp", {"timestamp": "2026-02-29T00:00:00Z"}),
    ("bad_timestamp", {"timestamp": 1767261600}),
    ("bad_timestamp", {"timestamp": "1969-12-31T23:59:59.999999Z", "event_type": "too"}),
    ("future_timestamp", {"timestamp": (LATEST + MICROSECOND).isoformat()}),
    ("future_timestamp", {"timestamp": "2099-01-01T00:00:00Z", "vcpu_count": -1}),
    ("bad_event_type", {"event_type": "SANDBOX_STARTED"}),
    ("bad_number", {"vcpu_count": -1}),
    ("bad_number", {"memory_gb": "NaN"}),
    ("bad_number", {"storage_gb": "0.0000001"}),
    ("bad_number", {"resources": {"memory_gb": 1000000.000001}}),
    ("bad_number", {"vcpu_count": True}),
]
UNREADABLE = [
    '{"user_id": "ada", "user_id": "bob"}',
    "{",
    "[]",
    "null",
    "0",
    "ada,s,2026-01-01T00:00:00Z",
    '{"event_id": "a",}{}',
    "\x00",
]


@dataclass(frozen=True)
class Line:
    """One line and its event; None if it cannot land."""

    text: str
    event: Event | None = None
    reason: str = ""


@st.composite
def lines(draw: st.DrawFn) -> Line:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return Line(draw(st.sampled_from(UNREADABLE)), reason="unreadable")
    event = draw(events)
    text = event_row(event, Random(draw(st.integers(0, 99))))
    if kind > 2:
        return Line(text, event)
    reason, changes = draw(st.sampled_from(ERRORS))
    good = {"sandbox_id": "s", "user_id": "ada", "timestamp": "2026-01-01T00:00:00Z", "event_type": "SandboxStarted"}
    row = {**good, "event_id": event.event_id, **changes}
    return Line(json.dumps({name: value for name, value in row.items() if value is not ...}), reason=reason)


@dataclass
class Expected:
    """What the reference makes of files in the order they landed."""

    received: list[Event] = field(default_factory=list)
    so_far: Acceptance = field(default_factory=Acceptance)
    contents: dict[str, tuple[str, dict[int, Line]]] = field(default_factory=dict)
    """By content of a file, the name under which it landed first, and its rows in quarantine by line."""
    quarantined: list[tuple[str, int, str, str]] = field(default_factory=list)
    """File, line, reason, and the row as received."""

    def land(self, name: str, rows: Sequence[Line]) -> tuple[int, int, dict[str, int]]:
        """Accepted, duplicates, and rows in quarantine by reason."""
        content = "\n".join(row.text for row in rows)
        name, to_judge = self.contents.get(content, (name, dict(enumerate(rows, start=1))))
        # Quarantined rows of a file that landed before are checked again, and its other rows are duplicates.
        accepted, duplicates, reasons = 0, len(rows) - len(to_judge), Counter[str]()
        in_quarantine: dict[int, Line] = {}
        self.quarantined = [row for row in self.quarantined if row[0] != name]
        for number, row in to_judge.items():
            reason = row.reason
            if row.event is not None:
                self.received.append(row.event)
                now = accept(self.received)
                accepted += len(now.events) - len(self.so_far.events)
                duplicates += now.duplicates - self.so_far.duplicates
                reason = "" if len(now.quarantined) == len(self.so_far.quarantined) else now.quarantined[-1][1]
                self.so_far = now
            if reason:
                reasons[reason] += 1
                self.quarantined.append((name, number, reason, row.text))
                in_quarantine[number] = row
        self.contents[content] = name, in_quarantine
        return accepted, duplicates, dict(reasons)


def _without_id(event: Event) -> Event:
    """An id that was derived is another text here than there."""
    return replace(event, event_id=None) if str(event.event_id).startswith("derived-") else event


def _landed_events(home: Home, named: set[str | None]) -> set[Event]:
    columns = ("sandbox_id", "user_id", "event_at", "vcpu_count", "memory_gb", "storage_gb", "tokens", "execution_id")
    return {
        Event(
            event_id=row["event_id"] if row["event_id"] in named else None,
            event_type=EventType(row["event_type"]),
            **{column: row[column] for column in columns},
        )
        for row in rows_of(home)
    }


files_of_lines = st.lists(st.lists(lines(), min_size=1, max_size=14), min_size=1, max_size=3)


@given(
    files=files_of_lines,
    repeated=st.lists(st.integers(0, 2), max_size=1),
    places=st.randoms(use_true_random=False),
    is_one_call=st.booleans(),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_every_row_is_counted_as_the_reference_counts_it(
    files: list[list[Line]], repeated: list[int], places: Random, is_one_call: bool
) -> None:
    order = list(range(len(files))) + [place % len(files) for place in repeated]
    places.shuffle(order)
    expected = Expected()
    with tempfile.TemporaryDirectory() as folder:
        home = Home.open(Path(folder) / "home")
        paths = [write_lines(Path(folder) / f"{place}.jsonl", [row.text for row in rows]) for place, rows in enumerate(files)]
        calls = [order] if is_one_call else [[place] for place in order]
        found = [file for call in calls for file in land_files(home, [paths[place] for place in call], landed_at=LANDED_AT).files]
        for place, landed in zip(order, found, strict=True):
            accepted, duplicates, by_reason = expected.land(paths[place].name, files[place])
            assert landed.received == len(files[place]) == landed.accepted + landed.duplicates + landed.quarantined
            assert (landed.accepted, landed.duplicates, landed.by_reason) == (
                accepted,
                duplicates,
                dict(sorted(by_reason.items())),
            )
        rows = quarantined(home)
        assert [(row["file_name"], row["file_row"], row["reason"], row["raw_row"]) for row in rows] == sorted(
            expected.quarantined, key=lambda row: row[:2]
        )
        assert all(row["detail"] and row["kind"] == "usage" for row in rows)
        named = {row.event.event_id for rows in files for row in rows if row.event}
        assert _landed_events(home, named) == set(map(_without_id, expected.so_far.events))
        recorded = landed_files(home)
        assert all(
            row["received_rows"] == row["accepted_rows"] + row["duplicate_rows"] + row["quarantined_rows"] for row in recorded
        )
        assert sum(row["accepted_rows"] for row in recorded) == len(expected.so_far.events) == len(rows_of(home))


@given(files=st.lists(st.lists(events, min_size=1, max_size=8), min_size=2, max_size=4), order=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_events_are_accepted_in_any_order_of_files(files: list[list[Event]], order: Random) -> None:
    """With duplicates and overlaps. Of two conflicting rows, the first to land is accepted."""
    agreed = [
        [replace(event, user_id=f"user of {event.sandbox_id}", execution_id=None, event_id=None) for event in rows]
        for rows in files
    ]
    contents = [[event_row(event, order) for event in rows] for rows in agreed]
    found: list[list[str]] = []
    for is_shuffled in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            home = Home.open(Path(folder) / "home")
            paths = [write_lines(Path(folder) / f"{place}.jsonl", rows) for place, rows in enumerate(contents)]
            if is_shuffled:
                order.shuffle(paths)
            summary = land_files(home, paths, landed_at=LANDED_AT)
            assert summary.received == sum(map(len, contents)) == summary.accepted + summary.duplicates
            rows = [{name: value for name, value in row.items() if name not in ("file_id", "file_row")} for row in rows_of(home)]
            found.append(sorted(map(repr, rows)))
    assert found[0] == found[1]
    assert len(found[0]) == len({event for rows in agreed for event in rows})


def _land(folder: Path, *files: Sequence[Event]) -> list[tuple[int, int, dict[str, int]]]:
    home = Home.open(folder / "home")
    paths = [
        write_lines(folder / f"{place}.jsonl", [event_row(event, Random(0)) for event in rows])
        for place, rows in enumerate(files)
    ]
    summary = land_files(home, paths, landed_at=LANDED_AT)
    return [(file.accepted, file.duplicates, file.by_reason) for file in summary.files]


def _event(event_id: str, sandbox_id: str, user_id: str) -> Event:
    return Event(event_id, sandbox_id, user_id, LANDED_AT, EventType.START)


def test_a_wrong_owner_event_does_not_claim_its_id(tmp_path: Path) -> None:
    """The owner of the second sandbox depends on a row whose id a wrong-owner event of the first sandbox has, too."""
    rows = [
        _event("a", "first", "ada"),
        _event("x", "first", "bob"),
        _event("x", "second", "carl"),
        _event("y", "second", "dora"),
        _event("z", "second", "carl"),
    ]
    assert _land(tmp_path, rows) == [(3, 0, {"user_mismatch": 2})]
    assert [row["file_row"] for row in quarantined(Home(tmp_path / "home"))] == [2, 4]


def test_many_wrong_owner_events_are_checked_in_one_pass(tmp_path: Path) -> None:
    """A repeated wrong-owner event is no duplicate, since it never landed; ten thousand take as long as as many other rows."""
    wrong_owner_events = [_event("x", "box", "eve")] * 10_000
    assert _land(tmp_path, [_event("a", "box", "ada"), *wrong_owner_events, _event("x", "box", "ada")]) == [
        (2, 0, {"user_mismatch": 10_000})
    ]


def test_a_sandbox_keeps_its_owner_from_file_to_file(tmp_path: Path) -> None:
    files = [[_event("a", "box", "ada")], [_event("b", "box", "bob"), _event("b", "box", "ada")], [_event("b", "box", "bob")]]
    assert _land(tmp_path, *files) == [(1, 0, {}), (1, 0, {"user_mismatch": 1}), (0, 0, {"conflicting_duplicate": 1})]


def test_the_clock_may_be_a_day_ahead_and_not_a_microsecond_more(tmp_path: Path) -> None:
    rows = [replace(_event(str(place), "box", "ada"), event_at=LATEST + place * MICROSECOND) for place in range(2)]
    assert _land(tmp_path, rows) == [(1, 0, {"future_timestamp": 1})]


def test_a_detail_says_what_is_wrong_and_where_the_first_row_is(tmp_path: Path) -> None:
    first = _event("a", "box", "ada")
    _land(tmp_path, [first], [replace(first, vcpu_count=Decimal(1)), _event("b", "box", "bob")])
    conflict, mismatch = quarantined(Home(tmp_path / "home"))
    file_id = landed_files(Home(tmp_path / "home"))[0]["file_id"]
    assert f"file {file_id[:12]}, row 1" in conflict["detail"]
    assert "'bob'" in mismatch["detail"] and "'ada'" in mismatch["detail"]
    assert (conflict["event_id"], mismatch["event_id"]) == ("a", "b")
