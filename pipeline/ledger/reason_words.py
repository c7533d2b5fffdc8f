"""Reasons of the report tables in plain words, for people who close a month. The codes stay beside them: queries use those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

END_REASONS: Mapping[str, str] = {
    "stop_missing": "ended by a later start",
    "end_inferred": "no stop within the plan's limit",
    "heartbeat_lost": "heartbeats stopped",
    "gone_from_listing": "missing from a listing of running sandboxes",
}
IGNORED_REASONS: Mapping[str, str] = {
    "stop_without_start": "a stop while no session runs",
    "pause_without_start": "a pause while no session runs",
    "update_after_stop": "an update while no session runs",
    "superseded": "another event of the same instant counts",
    "no_execution": "no execution is named",
    "voided": "cancelled by a void",
    "before_books_open": "from before the first billing month",
}
QUARANTINE_REASONS: Mapping[str, str] = {
    "missing_field": "a required field is missing",
    "bad_id": "an id is not valid",
    "bad_timestamp": "an instant cannot be read",
    "future_timestamp": "dated in the future",
    "before_books_open": "from before the first billing month",
    "bad_event_type": "an unknown event type",
    "over_limit": "too long",
    "bad_number": "a number is not valid",
    "conflicting_duplicate": "a landed id with other content",
    "user_mismatch": "another user's sandbox",
    "unknown_plan": "a plan that the price book does not have",
    "unknown_currency": "a currency that the price book does not have",
    "bad_value": "a value that is not allowed",
    "voided_id": "the id was cancelled by a void",
    "currency_change": "the currency cannot change then",
    "unreadable": "the row cannot be read",
}


def in_words(reason: str, words: Mapping[str, str]) -> str:
    """A reason and its code: 'heartbeats stopped (heartbeat_lost)'. One without words is the code alone."""
    return f"{words[reason]} ({reason})" if reason in words else reason


def listed(counts: Iterable[tuple[str, int]], words: Mapping[str, str]) -> str:
    """Reasons with their numbers: 'heartbeats stopped (heartbeat_lost): 2, ended by a later start (stop_missing): 1'."""
    return ", ".join(f"{in_words(reason, words)}: {number:,}" for reason, number in counts)
