"""Sends pending alerts, at least once: a process killed between sending and recording sends the same alert id again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pipeline.alerts.channels import Channel, RefusedError, UnreachedError, configured_channels
from pipeline.alerts.limits import new_limit_alerts, raise_limit_alerts
from pipeline.core.home import Home
from pipeline.core.settings import Settings
from pipeline.store.alert_log import DELIVERIES, Outcome, append_rows, due_alerts, sending
from pipeline.store.manifest import manifest_head

_ATTEMPTS = 4
_MAX_PAUSE_SECONDS = 20.0
_backoff = wait_random_exponential(multiplier=0.5, max=_MAX_PAUSE_SECONDS)


@dataclass
class SendResult:
    """The outcome of one call."""

    channels: list[str]
    raised: int = 0
    """New limit alerts of the last build."""
    delivered: int = 0
    problems: list[str] = field(default_factory=list)
    """Alerts that were not sent, with the reason."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self)


def send_alerts(home: Home, *, now: datetime | None = None, pause: Callable[[float], None] = time.sleep) -> SendResult:
    """Record the new limit alerts, then send all pending alerts; a failing channel does not stop the others.

    Failed deliveries are retried at the next call. Raises BillhouseError if the configuration is invalid.
    """
    settings = Settings.load()
    channels = {channel.name: channel for channel in configured_channels(settings)}
    result = SendResult(list(channels))
    with sending(home):
        max_age = timedelta(days=settings.alert_max_age_days)
        result.raised = raise_limit_alerts(home, list(channels), max_age, now or datetime.now(UTC))
        down: set[str] = set()
        for alert in due_alerts(home, list(channels)):
            name = alert["channel"]
            if name in down:  # its retries are used up; the rest waits for the next call
                result.problems.append(f"{alert['alert_id']} by {name}: pending, because {name} cannot be reached")
                continue
            alert["manifest_head"] = manifest_head(home)
            outcome, detail, attempts = _deliver(channels[name], alert, pause)
            delivery = {"alert_id": alert["alert_id"], "channel": name, "outcome": str(outcome), "attempts": attempts}
            append_rows(home, DELIVERIES, [{**delivery, "detail": detail, "tried_at": datetime.now(UTC)}])
            if outcome is Outcome.DELIVERED:
                result.delivered += 1
            else:
                result.problems.append(f"{alert['alert_id']} by {name}: {outcome}, {detail}")
            if outcome is Outcome.FAILED:
                down.add(name)
    return result


def waiting_alerts(home: Home) -> list[str]:
    """The ids of the alerts that the next call of `send_alerts` would send, and of the limit alerts it would record.

    Raises BillhouseError if the configuration is invalid.
    """
    due = [
        f"{alert['alert_id']} {alert['channel']}"
        for alert in due_alerts(home, [channel.name for channel in configured_channels()])
    ]
    return sorted({*due, *(alert["alert_id"] for alert in new_limit_alerts(home))})


def send_test(*, pause: Callable[[float], None] = time.sleep) -> SendResult:
    """Send a test message to each channel; nothing is recorded."""
    channels = configured_channels()
    result = SendResult([channel.name for channel in channels])
    now = datetime.now(UTC)
    alert: dict[str, Any] = {"alert_id": f"ALT-TEST-{now:%Y%m%dT%H%M%S}", "kind": "test", "customer_id": None, "reached_at": now}
    alert |= {"subject": "Test of Billhouse alerts", "text": "This is a test message. No action is needed."}
    for channel in channels:
        outcome, detail, _ = _deliver(channel, alert, pause)
        if outcome is Outcome.DELIVERED:
            result.delivered += 1
        else:
            result.problems.append(f"{channel.name}: {outcome}, {detail}")
    return result


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    requested = error.retry_after_seconds if isinstance(error, UnreachedError) else 0
    return min(max(_backoff(state), requested), _MAX_PAUSE_SECONDS)


def _deliver(channel: Channel, alert: dict[str, Any], pause: Callable[[float], None]) -> tuple[Outcome, str, int]:
    retrying = Retrying(
        retry=retry_if_exception_type(UnreachedError), stop=stop_after_attempt(_ATTEMPTS), wait=_wait, sleep=pause, reraise=True
    )
    try:
        retrying(channel.send, alert)
    except UnreachedError as error:
        return Outcome.FAILED, str(error), _ATTEMPTS
    except RefusedError as error:
        return Outcome.REJECTED, str(error), int(retrying.statistics["attempt_number"])
    return Outcome.DELIVERED, "", int(retrying.statistics["attempt_number"])
