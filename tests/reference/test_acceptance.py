"""Which rows are events. Billing rules, section 3."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from tests.reference import accept
from tests.reference.shorthand import start, stop


def test_the_same_event_again_is_a_duplicate_whatever_its_zeros() -> None:
    event = start("10:00", "2", id="a")
    acceptance = accept([event, event, start("10:00", "2.000000", id="a")])
    assert (acceptance.events, acceptance.duplicates, acceptance.quarantined) == ([event], 2, [])


def test_the_same_id_with_other_content_is_a_conflict_and_the_first_landed_stands() -> None:
    first, other = start("10:00", "2", id="a"), start("10:00", "4", id="a")
    assert accept([first, other]).quarantined == [(other, "conflicting_duplicate")]
    assert accept([other, first]).events == [other]


def test_a_row_without_an_id_is_the_same_event_as_its_exact_repeat() -> None:
    row = replace(start("10:00", "2"), event_id=None)
    acceptance = accept([row, row, replace(row, vcpu_count=Decimal("2.0")), replace(row, memory_gb=Decimal(1))])
    assert (len(acceptance.events), acceptance.duplicates) == (2, 2)
    assert len({event.event_id for event in acceptance.events}) == 2


def test_a_sandbox_belongs_to_the_user_of_its_first_landed_event() -> None:
    mine, theirs = start("10:00", id="a"), stop("09:00", id="b", user="another")
    assert accept([mine, theirs]).quarantined == [(theirs, "user_mismatch")]
    assert accept([theirs, mine]).quarantined == [(mine, "user_mismatch")]


def test_a_quarantined_row_takes_no_id_and_no_sandbox() -> None:
    mine, theirs = start("10:00", id="a"), stop("09:00", id="b", user="another")
    again = stop("11:00", id="b")
    assert accept([mine, theirs, again]).events == [mine, again]
