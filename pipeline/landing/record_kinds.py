"""The kinds of records that land, and what their numbers mean."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What the rows of a file are."""

    USAGE = "usage"
    SUBSCRIPTIONS = "subscriptions"
    CUSTOMERS = "customers"
    CREDIT_GRANTS = "credit_grants"
    VOIDS = "voids"
    """Usage events and credit grants that are taken back. docs/use/correct-a-mistake.md."""
    METRICS = "metrics"
    """Samples of what sandboxes really used. docs/internals/utilisation.md."""


class TimestampUnit(StrEnum):
    """What a number means where an instant is expected: units since 1970-01-01T00:00:00Z."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    MICROSECONDS = "microseconds"
    NANOSECONDS = "nanoseconds"
