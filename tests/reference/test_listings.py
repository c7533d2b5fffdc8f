"""Sessions that end because a listing of running sandboxes does not name them any more. Billing rules, section 4.

Customers are on the default plan, hobby, with a maximum of one hour.
"""

from __future__ import annotations

from .records import Event
from .shorthand import due, heartbeat, listing, on, pause, resume, spans, start, stop, update

NAMED = [listing("10:10", "sandbox"), listing("10:20", "sandbox")]
ABSENT = listing("10:30")


def test_a_session_ends_at_the_last_listing_that_names_its_sandbox_if_a_later_one_does_not() -> None:
    assert spans(due([start("10:00")], listings=[*NAMED, ABSENT]).sessions) == ["10:00-10:20 gone_from_listing"]


def test_the_order_in_which_listings_land_means_nothing() -> None:
    assert spans(due([start("10:00")], listings=[ABSENT, *NAMED[::-1]]).sessions) == ["10:00-10:20 gone_from_listing"]


def test_it_ends_at_its_last_event_if_that_is_later_than_the_listing() -> None:
    assert spans(due([start("10:00"), update("10:25")], listings=[*NAMED, ABSENT]).sessions) == ["10:00-10:25 gone_from_listing"]


def test_an_event_at_the_instant_of_the_listing_or_later_shows_that_it_ran_on() -> None:
    for when in ("10:30", "10:40"):
        assert spans(due([start("10:00"), update(when)], listings=[*NAMED, ABSENT]).sessions) == ["10:00-11:00 end_inferred"]


def test_so_does_a_later_listing_that_names_it() -> None:
    listings = [*NAMED, ABSENT, listing("10:40", "sandbox")]
    assert spans(due([start("10:00")], listings=listings).sessions) == ["10:00-11:00 end_inferred"]


def test_a_listing_after_as_of_is_not_seen() -> None:
    assert spans(due([start("10:00")], listings=[*NAMED, ABSENT], as_of="2024-02-10 10:29").sessions) == ["10:00-10:29 open"]


def test_a_sandbox_that_no_listing_has_named_is_none_of_its_business() -> None:
    assert spans(due([start("10:00")], listings=[listing("10:10"), ABSENT]).sessions) == ["10:00-11:00 end_inferred"]


def test_a_sandbox_that_an_earlier_session_was_listed_of_is_gone_from_its_start() -> None:
    events = [start("09:00"), stop("09:30"), start("10:00")]
    sessions = due(events, listings=[listing("09:10", "sandbox"), ABSENT]).sessions
    assert spans(sessions) == ["09:00-09:30 stopped", "10:00-10:00 gone_from_listing"]


def test_a_listing_of_another_scope_says_nothing_of_it() -> None:
    listings = [*NAMED, listing("10:30", "other", scope="team")]
    assert spans(due([start("10:00")], listings=listings).sessions) == ["10:00-11:00 end_inferred"]


def test_an_incomplete_listing_ends_nothing_and_a_complete_one_in_parts_does() -> None:
    parts = [listing("10:30", part=part, parts=2) for part in (2, 1)]
    assert spans(due([start("10:00")], listings=[*NAMED, parts[0]]).sessions) == ["10:00-11:00 end_inferred"]
    assert spans(due([start("10:00")], listings=[*NAMED, *parts]).sessions) == ["10:00-10:20 gone_from_listing"]


def test_a_stop_ends_a_session_whatever_listings_say() -> None:
    assert spans(due([start("10:00"), stop("10:50")], listings=[*NAMED, ABSENT]).sessions) == ["10:00-10:50 stopped"]


def test_a_listing_confirms_a_session_past_the_plans_maximum() -> None:
    named = listing("12:00", "sandbox")
    assert spans(due([start("10:00")], listings=[named]).sessions) == ["10:00-12:00 end_inferred"]
    assert spans(due([start("10:00")], listings=[named, listing("12:01")]).sessions) == ["10:00-12:00 gone_from_listing"]
    assert spans(due([start("10:00"), start("15:00")], listings=[named]).sessions)[0] == "10:00-12:00 stop_missing"


def test_a_session_before_the_next_start_ends_by_the_listings_between() -> None:
    sessions = due(
        [start("10:00"), start("10:45"), stop("10:50")], listings=[*NAMED, ABSENT, listing("10:46", "sandbox")]
    ).sessions
    assert spans(sessions) == ["10:00-10:20 gone_from_listing", "10:45-10:50 stopped"]


def test_a_listing_that_names_a_sandbox_after_another_execution_started_is_about_that_one() -> None:
    events = [start("10:00", execution="x"), start("10:40", execution="y"), stop("10:50", execution="y")]
    sessions = due(events, listings=[*NAMED, ABSENT, listing("10:45", "sandbox")]).sessions
    assert spans(sessions) == ["10:00-10:20 gone_from_listing", "10:40-10:50 stopped"]


def test_a_session_ends_where_another_execution_opens_if_a_listing_has_named_the_sandbox() -> None:
    records = [on("enterprise", "2024-01-01")]
    listings = [*NAMED, *(listing(when, "sandbox") for when in ("10:30", "10:50", "12:00"))]
    x, y = start("10:00", execution="x"), stop("15:00", execution="y")

    def due_with(*events: Event) -> list[str]:
        return spans(due([x, *events, y], records, listings=listings).sessions)

    # The stop of x is lost. Any event of y may open it, also at the instant of x's last event or before it.
    assert due_with(start("10:22", execution="y")) == ["10:00-10:20 gone_from_listing", "10:22-15:00 stopped"]
    assert due_with(heartbeat("11:00", execution="y")) == ["10:00-10:50 gone_from_listing", "11:00-15:00 stopped"]
    reported = stop("15:00", execution="y", started="10:40")
    assert spans(due([x, reported], records, listings=listings).sessions) == [
        "10:00-10:30 gone_from_listing",
        "10:40-15:00 stopped",
    ]
    at_once = (update("10:40", execution="x"), start("10:40", execution="y"))
    assert due_with(*at_once) == ["10:00-10:40 gone_from_listing", "10:40-15:00 stopped"]
    late = (update("10:41", execution="x"), start("10:40", execution="y"))
    assert due_with(*late) == ["10:00-10:41 gone_from_listing", "10:40-15:00 stopped"]
    # No listing named it before.
    assert due_with(start("10:05", execution="y"))[0].endswith("open")


def test_a_scope_that_another_one_followed_says_nothing_of_a_sandbox() -> None:
    moved = [listing("10:05", "sandbox", scope="a"), listing("10:10", scope="a"), listing("10:20", "sandbox", scope="b")]
    ends = {"a": "10:00-11:00 end_inferred", "b": "10:00-10:20 gone_from_listing"}
    for scope, end in ends.items():
        assert spans(due([start("10:00")], listings=[*moved, listing("10:30", scope=scope)]).sessions) == [end]


def test_a_paused_session_does_not_end_by_a_listing_and_one_that_resumed_does() -> None:
    paused = [start("10:00"), pause("10:25")]
    assert spans(due(paused, listings=[*NAMED, ABSENT], as_of="2024-02-10 12:00").sessions) == ["10:00-12:00 open"]
    resumed = [*paused, resume("10:35")]
    listings = [*NAMED, ABSENT, listing("10:40", "sandbox"), listing("10:41")]
    assert spans(due(resumed, listings=listings).sessions) == ["10:00-10:40 gone_from_listing"]


def test_a_listing_is_no_heartbeat_and_the_earlier_end_counts() -> None:
    beats = [start("10:00"), heartbeat("10:05")]
    assert spans(due(beats, heartbeat=600, listings=[*NAMED, ABSENT]).sessions) == ["10:00-10:15 heartbeat_lost"]
    assert spans(due(beats, heartbeat=3600, listings=[*NAMED, ABSENT]).sessions) == ["10:00-10:20 gone_from_listing"]


def test_on_a_plan_without_a_maximum_a_session_ends_by_a_listing_too() -> None:
    records = [on("enterprise", "2024-01-01")]
    assert spans(due([start("10:00")], records, listings=[*NAMED, ABSENT]).sessions) == ["10:00-10:20 gone_from_listing"]
