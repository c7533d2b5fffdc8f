"""Billing rules, section 5, and docs/operate/stripe.md: the plan that a subscription in Stripe gives at an instant.

Here the true life of a subscription is known, state by state. Stripe has an event for each, and forgets it after 30 days; what
was before the first event that it still has must come from the state just before it, and from the dates that the object carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MEMORY = timedelta(days=30)
_WITH_A_PLAN = ("trialing", "active", "past_due")

Given = tuple[str, bool] | None
"""(plan, is it a trial), or None for no plan."""


@dataclass(frozen=True)
class State:
    """What a subscription is from an instant on."""

    at: datetime
    status: str
    plan_id: str
    trial_starts_at: datetime | None = None
    trial_ends_at: datetime | None = None
    paused_at: datetime | None = None


def given_plan(life: Sequence[State], synced_at: datetime, at: datetime) -> Given:
    """The plan that the subscription gives at an instant, as one sync can know it. `life`: its states, in order."""
    started_at = life[0].at
    if at < started_at:
        return None
    events = [state for state in life if state.at > synced_at - MEMORY]
    if events and at >= events[0].at:
        return _in_state(max((state for state in events if state.at <= at), key=lambda state: state.at), at)
    before = [state for state in life if state.at <= synced_at - MEMORY]
    last = before[-1]
    if events:  # the state before the first event, as that event shows it
        first = events[0]
        if first.status == "canceled":  # nothing says what it was
            return _between(first, "active", None, None, at)
        paused_at = first.paused_at if last.status == "paused" else None
        known = State(last.at, last.status, last.plan_id, first.trial_starts_at, first.trial_ends_at, paused_at)
        return _between(known, last.status, paused_at, None, at)
    ended_at = last.at if last.status == "canceled" else None
    unpaid_at = synced_at if last.status == "unpaid" else None
    return _between(last, last.status, last.paused_at, ended_at or unpaid_at, at)


def _in_state(state: State, at: datetime) -> Given:
    if state.status not in _WITH_A_PLAN:
        return None
    is_trial = state.status == "trialing" and (state.trial_ends_at is None or at < state.trial_ends_at)
    return state.plan_id, is_trial


def _between(known: State, status: str, paused_at: datetime | None, over_at: datetime | None, at: datetime) -> Given:
    """Between the start and the first thing that is known exactly."""
    if status in ("incomplete", "incomplete_expired"):
        return None
    if (paused_at is not None and at >= paused_at) or (over_at is not None and at >= over_at):
        return None
    start, end = known.trial_starts_at, known.trial_ends_at
    return known.plan_id, start is not None and end is not None and start <= at < end
