"""Events without an execution id, of sandboxes with executions. Billing rules, section 4."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from .records import Event, IgnoredBecause, Result
from .shorthand import due, lines_of, pause, resume, spans, start, stop, update

X = [start("10:00", "2", execution="x"), stop("11:00", execution="x")]
Y = [start("11:00", "4", execution="y"), stop("12:00", execution="y")]


def vcpu_hours(result: Result) -> list[tuple[str, object]]:
    return [(session.execution_id, session.quantities["vcpu"] / 3600) for session in result.sessions]


def ignored(result: Result) -> list[tuple[str | None, IgnoredBecause]]:
    return [(one.event.event_id, one.reason) for one in result.ignored]


def without_execution(event: Event, id: str) -> Event:
    return replace(event, execution_id=None, event_id=id)


def test_an_update_without_an_execution_belongs_to_the_one_that_runs() -> None:
    assert vcpu_hours(due([*X, update("10:30", "4", id="u")])) == [("x", Decimal(3))]


def test_where_none_runs_it_is_ignored() -> None:
    result = due([*X, update("09:30", "4", id="before"), start("12:30", "4", id="after")])
    assert vcpu_hours(result) == [("x", Decimal(2))]
    assert ignored(result) == [("after", IgnoredBecause.NO_EXECUTION), ("before", IgnoredBecause.NO_EXECUTION)]


def test_its_quantities_are_billed_all_the_same() -> None:
    tokens = replace(update("12:30", "4", id="u"), tokens=Decimal(5))
    assert [line.quantity for line in lines_of(due([*X, tokens]), "tokens")] == [5]


def test_a_sandbox_without_executions_has_sessions_as_always() -> None:
    tokens = replace(update("12:30", id="u", execution="x"), tokens=Decimal(5))
    assert spans(due([start("10:00"), stop("10:30"), tokens]).sessions) == ["10:00-10:30 stopped"]


def test_at_the_instant_of_a_stop_it_belongs_to_the_execution_that_stops_unless_another_runs_on() -> None:
    assert ignored(due([*X, update("11:00", "8", id="u")])) == [("u", IgnoredBecause.UPDATE_AFTER_STOP)]
    assert vcpu_hours(due([*X, *Y, update("11:00", "8", id="u")])) == [("x", Decimal(2)), ("y", Decimal(8))]


def test_a_stop_belongs_to_the_execution_that_ran_before_its_instant() -> None:
    result = due([X[0], *Y, without_execution(stop("11:00"), "s")])
    assert spans(result.sessions) == ["10:00-11:00 stopped", "11:00-12:00 stopped"]


def test_of_several_executions_the_one_that_opened_last_counts() -> None:
    later = [start("10:15", "1", execution="z"), stop("10:45", execution="z")]
    assert vcpu_hours(due([*X, *later, update("10:30", "5", id="u")])) == [("x", Decimal(2)), ("z", Decimal("1.5"))]
    assert vcpu_hours(due([*X, *later, update("10:50", "8", id="u")]))[0] == ("x", Decimal(3))


def test_an_execution_that_lost_its_stop_runs_until_another_one_starts() -> None:
    result = due([X[0], start("10:30", "1", execution="z"), stop("10:40", execution="z"), update("10:50", "8", id="u")])
    assert ignored(result) == [("u", IgnoredBecause.NO_EXECUTION)]


def test_a_reported_start_and_a_pause_count_as_running() -> None:
    reported = [stop("11:00", "2", execution="x", started="10:00")]
    assert vcpu_hours(due([*reported, update("10:30", "4", id="u")])) == [("x", Decimal(3))]
    events = [X[0], pause("10:20", execution="x"), X[1], without_execution(resume("10:40"), "r")]
    assert vcpu_hours(due(events)) == [("x", Decimal(2) * 2 / 3)]
