"""A failed run has the same message as the command line; logs contain no control characters and no secrets."""

from __future__ import annotations

import errno
import os

import dagster as dg
import pytest

from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import Home
from tests.orchestration.jobs import in_home

KEY = "sk_test_51HabcDEFghi"


def close_failing(
    error: Exception, definitions: dg.Definitions, home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The error that Dagster records for a run in which the close raises this error."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("orchestration.month_end.close_period", fail)
    run = in_home(definitions, home, "close_month").execute_in_process(
        partition_key="2026-08", instance=instance, raise_on_error=False
    )
    (failed,) = [event for event in run.get_step_failure_events() if event.step_key == "closed_invoices"]
    recorded = failed.step_failure_data.error
    assert recorded is not None
    return recorded.to_string()


@pytest.fixture
def empty(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home.open(f"{tmp_path}/home")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "ledger/closes"),
        ZeroDivisionError("unexpected"),
    ],
)
def test_a_failed_run_has_the_message_of_the_command_line(
    error: Exception,
    definitions: dg.Definitions,
    empty: Home,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = close_failing(error, definitions, empty, instance, monkeypatch)
    assert str(to_billhouse_error(error)) in recorded
    assert "in fail" in recorded, "the traceback is recorded"


def test_the_error_of_a_run_contains_no_secret_and_no_control_character(
    definitions: dg.Definitions, empty: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = close_failing(ZeroDivisionError(f"{KEY}\x1b[2J"), definitions, empty, instance, monkeypatch)
    assert "sk_test_[redacted]\\x1b[2J" in recorded
    assert "51Habc" not in recorded
    assert "\x1b" not in recorded


def test_the_log_of_a_run_contains_no_control_character_and_no_secret(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    @dg.op
    def say(context) -> None:  # type: ignore[no-untyped-def]
        context.log.error(f"Not landed: \x1b]0;owned\x07\u202egnp {KEY}")

    @dg.job
    def log_message() -> None:
        say()

    run = log_message.execute_in_process(instance=instance)
    logged = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert "Not landed: \\x1b]0;owned\\x07\\u202egnp sk_test_[redacted]" in logged
    assert not any("\x1b" in message or "51Habc" in message for message in logged)
