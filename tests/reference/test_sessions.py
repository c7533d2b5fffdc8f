"""From events to sessions, cell by cell. Billing rules, section 4.

Everyone is on hobby (at most 1 h, default sandbox 2 vCPU, 0.5 GB, 1 GB) unless a record says otherwise.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from tests.reference import EndReason, IgnoredBecause
from tests.reference.shorthand import at, due, heartbeat, hours, on, pause, resume, spans, start, stop, update

PRO = on("pro", "2024-01-01")
ENTERPRISE = on("enterprise", "2024-01-01")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([start("10:00"), start("15:00"), stop("15:30")], "10:00-11:00 stop_missing", id="lost stop"),
        pytest.param([start("10:00"), update("12:30")], "10:00-12:30 end_inferred", id="alive after its maximum"),
        pytest.param([start("10:00"), stop("12:00")], "10:00-12:00 stopped", id="outlived its maximum"),
    ],
)
def test_the_worked_examples_of_the_rules(events: list[object], expected: str) -> None:
    assert spans(due(events).sessions)[0] == expected  # type: ignore[arg-type]


def test_a_start_while_running_ends_the_old_session_there_and_opens_another() -> None:
    sessions = due([start("10:00"), start("10:30"), stop("10:45")]).sessions
    assert spans(sessions) == ["10:00-10:30 stop_missing", "10:30-10:45 stopped"]


def test_a_start_long_after_a_lost_stop_leaves_the_old_session_at_its_last_event() -> None:
    sessions = due([start("10:00"), update("12:30"), start("15:00"), stop("15:10")]).sessions
    assert spans(sessions) == ["10:00-12:30 stop_missing", "15:00-15:10 stopped"]


def test_a_stop_with_nothing_running_is_ignored() -> None:
    assert due([stop("10:00")]).sessions == []
    assert spans(due([start("10:00"), stop("10:30"), stop("10:40")]).sessions) == ["10:00-10:30 stopped"]


def test_stop_and_start_together_while_running_end_one_session_and_open_another() -> None:
    sessions = due([start("10:00"), stop("10:30"), start("10:30"), stop("11:00")]).sessions
    assert spans(sessions) == ["10:00-10:30 stopped", "10:30-11:00 stopped"]


def test_start_and_stop_together_with_nothing_running_are_a_session_of_no_length_and_no_bill() -> None:
    result = due([start("10:00", "4"), stop("10:00"), update("10:30", "8")])
    assert spans(result.sessions) == ["10:00-10:00 stopped"]
    assert set(result.sessions[0].quantities.values()) == {Decimal(0)}
    assert result.invoices == []


def test_an_update_as_the_very_first_event_opens_a_session_whose_start_is_missing() -> None:
    (session,) = due([update("10:00", "4"), stop("10:30")]).sessions
    assert spans([session]) == ["10:00-10:30 stopped"]
    assert session.is_start_missing
    # What it does not name is the plan's default sandbox's.
    assert (hours(session), hours(session, "memory"), hours(session, "storage")) == (2, Decimal("0.25"), Decimal("0.5"))


@pytest.mark.parametrize("before", [[start("10:00"), stop("10:30")], [stop("10:30")]])
def test_an_update_after_a_stop_is_ignored_even_if_that_stop_was(before: list[object]) -> None:
    with_update = due([*before, update("10:40", "4"), update("10:50", "8")])  # type: ignore[list-item]
    assert with_update.sessions == due(before).sessions  # type: ignore[arg-type]


def test_stop_and_update_together_end_the_session_and_the_update_finds_nothing_running() -> None:
    (session,) = due([start("10:00"), stop("10:30"), update("10:30", "64")]).sessions
    assert spans([session]) == ["10:00-10:30 stopped"]
    assert hours(session) == 1
    assert due([stop("10:30"), update("10:30", "64")]).sessions == []


def test_start_and_update_together_run_with_the_updates_resources_then_the_starts_then_the_plans() -> None:
    (session,) = due([start("10:00", "4", "8"), update("10:00", "1"), stop("11:00")]).sessions
    assert (hours(session), hours(session, "memory"), hours(session, "storage")) == (1, 8, 1)
    assert not session.is_start_missing


def test_start_stop_and_update_together_while_running_change_the_new_session_alone() -> None:
    events = [start("10:00", "1"), start("11:00", "2"), stop("11:00"), update("11:00", "4"), stop("12:00")]
    assert [hours(session) for session in due(events).sessions] == [1, 4]


def test_of_several_of_a_kind_at_one_instant_the_highest_event_id_wins_as_a_whole() -> None:
    starts = [start("10:00", "1", "1", id="b"), start("10:00", "2", id="a"), start("10:00", "4", id="c")]
    (session,) = due([*starts, stop("11:00")]).sessions
    # 'c' names no memory: it is the plan's, and not what 'b' named.
    assert (hours(session), hours(session, "memory")) == (4, Decimal("0.5"))
    updates = [update("10:30", "8", id="9"), update("10:30", None, "2", id="10")]
    (session,) = due([start("10:00", "2", "1"), *updates, stop("11:00")]).sessions
    # Ids are compared as text.
    assert (hours(session), hours(session, "memory")) == (5, 1)


def test_what_an_update_does_not_name_stays_what_it_was() -> None:
    (session,) = due([start("10:00", "2", "1"), update("10:30", "4"), stop("11:00")]).sessions
    assert (hours(session), hours(session, "memory")) == (3, 1)


def test_what_a_start_does_not_name_is_the_default_of_the_plan_at_that_instant() -> None:
    (session,) = due([start("10:00"), stop("11:00")], [on("pro", "10:00")]).sessions
    assert (session.plan_id, hours(session), hours(session, "memory"), hours(session, "storage")) == ("pro", 4, 4, 5)


def test_zero_is_a_value_and_not_an_absent_one() -> None:
    (session,) = due([start("10:00", "0"), stop("11:00")]).sessions
    assert hours(session) == 0


def test_a_session_is_open_until_the_instant_at_which_it_reaches_its_maximum() -> None:
    events = [start("10:00")]
    assert spans(due(events, as_of=f"{at('10:59'):%Y-%m-%d %H:%M}").sessions) == ["10:00-10:59 open"]
    assert spans(due(events, as_of="2024-02-10 11:00").sessions) == ["10:00-11:00 end_inferred"]
    assert spans(due(events, as_of="2024-02-10 11:01").sessions) == ["10:00-11:00 end_inferred"]


def test_an_event_at_as_of_is_seen_and_one_after_it_is_not() -> None:
    events = [start("10:00"), stop("10:30")]
    assert spans(due(events, as_of="2024-02-10 10:30").sessions) == ["10:00-10:30 stopped"]
    assert spans(due(events, as_of="2024-02-10 10:29:59.999999").sessions)[0].endswith("open")
    assert spans(due(events, as_of="2024-02-10 10:00").sessions) == ["10:00-10:00 open"]
    assert due(events, as_of="2024-02-10 09:00").sessions == []


def test_the_maximum_is_that_of_the_plan_at_the_sessions_start() -> None:
    assert spans(due([start("09:00")], [PRO, on("hobby", "10:00")]).sessions) == ["09:00-2024-02-11T09:00:00.000000 end_inferred"]


def test_a_plan_without_a_maximum_leaves_a_session_open() -> None:
    (session,) = due([start("10:00")], [ENTERPRISE], as_of="2024-05-01").sessions
    assert (session.ended_at, session.end_reason) == (at("2024-05-01"), EndReason.OPEN)


def test_executions_of_one_sandbox_are_sessions_of_their_own() -> None:
    events = [
        start("10:00", execution="a"),
        start("10:10", execution="b"),
        stop("10:20", execution="b"),
        stop("10:30", execution="a"),
    ]
    sessions = due(events).sessions
    assert [session.execution_id for session in sessions] == ["a", "b"]
    assert spans(sessions) == ["10:00-10:30 stopped", "10:10-10:20 stopped"]


def test_a_silence_longer_than_the_heartbeat_timeout_loses_the_session_and_an_update_opens_another() -> None:
    events = [start("10:00"), heartbeat("10:10", "4"), update("10:40", "4"), stop("10:45")]
    result = due(events, heartbeat=600)
    assert spans(result.sessions) == ["10:00-10:20 heartbeat_lost", "10:40-10:45 stopped"]
    assert [session.is_start_missing for session in result.sessions] == [False, True]


def test_a_silence_as_long_as_the_heartbeat_timeout_loses_nothing() -> None:
    assert spans(due([start("10:00"), heartbeat("10:00"), stop("10:10")], heartbeat=600).sessions) == ["10:00-10:10 stopped"]


def test_no_silence_ends_a_session_before_its_first_heartbeat_or_after_another_start() -> None:
    assert spans(due([start("10:00"), update("10:10"), stop("10:40")], heartbeat=600).sessions) == ["10:00-10:40 stopped"]
    events = [start("10:00"), heartbeat("10:05"), start("10:10"), stop("10:40")]
    assert spans(due(events, heartbeat=600).sessions) == ["10:00-10:10 stop_missing", "10:10-10:40 stopped"]


def test_a_stop_after_the_heartbeat_was_lost_finds_nothing_running() -> None:
    events = [start("10:00"), heartbeat("10:00"), stop("10:30"), update("10:40")]
    assert spans(due(events, heartbeat=600).sessions) == ["10:00-10:10 heartbeat_lost"]


def test_with_a_long_heartbeat_timeout_the_maximum_still_ends_a_silent_session() -> None:
    running = [start("10:00"), heartbeat("10:00")]
    assert spans(due(running, heartbeat=7200).sessions) == ["10:00-11:00 end_inferred"]
    assert spans(due([*running, start("15:00"), stop("15:01")], heartbeat=7200).sessions) == [
        "10:00-11:00 stop_missing",
        "15:00-15:01 stopped",
    ]


def test_a_start_right_after_a_silence_means_the_stop_went_missing_even_with_a_stop_beside_it() -> None:
    # Past its maximum when it fell silent: it ended there. The stop finds nothing running.
    events = [start("10:00"), heartbeat("10:00"), start("15:00"), stop("15:00")]
    assert spans(due(events, heartbeat=7200).sessions) == ["10:00-11:00 stop_missing", "15:00-15:00 stopped"]


def test_a_stop_or_an_update_right_after_a_silence_leaves_the_inferred_end_even_if_a_start_follows() -> None:
    running = [start("10:00"), heartbeat("10:00")]
    for event in (stop("15:00"), update("15:00")):
        first, *_ = spans(due([*running, event, start("16:00"), stop("16:01")], heartbeat=7200).sessions)
        assert first == "10:00-11:00 end_inferred"


def test_a_paused_session_holds_its_storage_only_and_runs_again_with_what_it_held() -> None:
    events = [start("10:00", "4", "8", "2"), pause("10:15"), resume("11:00"), stop("11:15")]
    (session,) = due(events).sessions
    assert spans([session]) == ["10:00-11:15 stopped"]
    assert (hours(session), hours(session, "memory"), hours(session, "storage")) == (2, 4, Decimal("2.5"))
    assert session.paused_time == timedelta(minutes=45)


def test_a_paused_session_ends_where_another_execution_of_its_sandbox_starts() -> None:
    events = [
        start("10:00", execution="a"),
        pause("10:20", execution="a"),
        resume("11:00", execution="b"),
        stop("12:00", execution="b"),
    ]
    assert spans(due(events).sessions) == ["10:00-11:00 stop_missing", "11:00-12:00 stopped"]
    assert spans(due([*events, stop("11:30", execution="a")]).sessions)[0] == "10:00-11:30 stopped"


def test_an_event_during_a_pause_changes_the_storage_at_once_and_the_rest_when_it_runs_again() -> None:
    events = [start("10:00", "4", "8", "2"), pause("10:30"), update("11:00", "1", None, "4"), resume("11:30"), stop("12:30")]
    (session,) = due(events).sessions
    assert (hours(session), hours(session, "memory"), hours(session, "storage")) == (3, 12, 8)


def test_a_pause_does_not_count_for_the_maximum_and_a_paused_session_stays_open() -> None:
    # Hobby, one hour: it ran 20 minutes before the pause.
    events = [start("10:00"), pause("10:20"), resume("15:00")]
    assert spans(due(events).sessions) == ["10:00-15:40 end_inferred"]
    assert spans(due(events[:2], as_of="2024-02-10 23:00").sessions) == ["10:00-23:00 open"]
    assert spans(due([*events[:2], start("15:00"), stop("15:01")]).sessions) == [
        "10:00-15:00 stop_missing",
        "15:00-15:01 stopped",
    ]


def test_no_silence_ends_a_paused_session() -> None:
    events = [start("10:00"), heartbeat("10:00"), pause("10:05"), resume("12:00"), stop("12:05")]
    assert spans(due(events, heartbeat=600).sessions) == ["10:00-12:05 stopped"]


def test_a_resume_opens_a_session_where_nothing_runs_and_a_pause_is_ignored_there() -> None:
    result = due([pause("09:00"), resume("10:00", "4"), stop("10:30"), pause("10:30"), resume("11:00"), stop("11:30")])
    assert spans(result.sessions) == ["10:00-10:30 stopped", "11:00-11:30 stopped"]
    assert [hours(session) for session in result.sessions] == [2, 1]
    assert not any(session.is_start_missing for session in result.sessions)
    assert [one.reason for one in result.ignored] == [IgnoredBecause.PAUSE_WITHOUT_START] * 2


def test_a_resource_that_the_opening_does_not_name_is_what_the_first_closing_event_names() -> None:
    (session,) = due([start("10:00"), pause("10:30", "8"), resume("10:45"), stop("11:15", "16", "2")]).sessions
    # The pause names 8 vCPU and no memory; the stop names the memory of the whole session.
    assert (hours(session), hours(session, "memory"), hours(session, "storage")) == (8, 2, Decimal("1.25"))
    (session,) = due([start("10:00", "1"), stop("11:00", "8")]).sessions
    assert hours(session) == 1


@pytest.mark.parametrize("reported", [{"started": "10:00"}, {"duration": "1800"}])
def test_a_stop_alone_bills_from_when_it_says_that_the_session_started(reported: dict[str, str]) -> None:
    result = due([stop("10:30", "8", "4", **reported)])
    assert spans(result.sessions) == ["10:00-10:30 stopped"]
    assert (hours(result.sessions[0]), hours(result.sessions[0], "memory"), result.ignored) == (4, 2, [])
    assert result.sessions[0].is_start_missing


def test_a_pause_alone_bills_from_when_it_says_that_the_session_started_and_what_it_holds_after() -> None:
    (session,) = due([pause("10:30", "8", None, "2", started="10:00"), stop("11:00")]).sessions
    assert spans([session]) == ["10:00-11:00 stopped"]
    assert (hours(session), hours(session, "storage"), session.paused_time) == (4, 2, timedelta(minutes=30))


def test_where_a_start_is_known_the_closing_event_does_not_move_it() -> None:
    assert spans(due([start("10:00"), stop("10:30", started="09:00")]).sessions) == ["10:00-10:30 stopped"]
    events = [start("10:00"), stop("10:30"), stop("11:00", started="10:45")]
    assert spans(due(events).sessions) == ["10:00-10:30 stopped", "10:45-11:00 stopped"]


def test_a_stop_that_is_sent_again_bills_nothing_again() -> None:
    again = [stop("12:00", started="10:00"), stop("18:00", started="10:00")]
    result = due([start("10:00"), *again])
    assert spans(result.sessions) == ["10:00-12:00 stopped"]
    assert [one.reason for one in result.ignored] == [IgnoredBecause.STOP_WITHOUT_START]
    assert spans(due(again).sessions) == ["10:00-12:00 stopped"]
    # A stop of which nothing is known does not hide what a later one reports.
    assert spans(due([stop("12:00"), stop("12:01", started="10:00")]).sessions) == ["10:00-12:00 stopped"]


def test_a_paused_session_does_not_run_again_because_a_later_event_reports_how_long_it_ran() -> None:
    (session,) = due(
        [start("10:00", "1"), pause("10:20"), pause("12:00", duration="1200"), stop("15:00", duration="1200")]
    ).sessions
    assert (hours(session) * 60, session.paused_time) == (20, timedelta(hours=4, minutes=40))


def test_a_report_of_more_than_400_days_or_of_no_time_is_none() -> None:
    for reported in ("1970-01-01", "2024-02-10 10:30", "2024-02-11"):
        result = due([stop("10:30", started=reported)])
        assert (result.sessions, [one.reason for one in result.ignored]) == ([], [IgnoredBecause.STOP_WITHOUT_START])


def test_a_start_at_the_instant_of_a_stop_does_not_cancel_what_the_stop_reports() -> None:
    assert spans(due([stop("12:00", started="11:00"), start("12:00"), stop("12:30")]).sessions) == [
        "11:00-12:00 stopped",
        "12:00-12:30 stopped",
    ]


def test_a_session_that_began_before_its_first_update_is_billed_from_there() -> None:
    events = [update("10:30", "4"), stop("11:00", "2", started="10:00")]
    (session,) = due(events).sessions
    assert spans([session]) == ["10:00-11:00 stopped"]
    assert hours(session) == Decimal("3")
    # Updates before and after the reported start contradict it, if they are of one day.
    ended, updates = [start("09:00"), stop("09:10")], [update("09:30", "4"), update("10:05")]
    assert spans(due([*ended, *updates, stop("10:15", started="10:00")]).sessions) == ["09:00-09:10 stopped"]
    assert spans(due([*ended, *updates, stop("10:15", started="10:06")]).sessions)[1:] == ["10:06-10:15 stopped"]


def test_a_reported_session_does_not_fall_silent_by_a_heartbeat_before_it() -> None:
    events = [heartbeat("10:05"), stop("12:00", started="11:00")]
    assert spans(due(events, heartbeat=300).sessions) == ["10:05-10:10 heartbeat_lost", "11:00-12:00 stopped"]
