"""The kinds of records that land, and the units of their timestamps."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The kind of the rows of a file."""

    USAGE = "usage"
    SUBSCRIPTIONS = "subscriptions"
    CUSTOMERS = "customers"
    CREDIT_GRANTS = "credit_grants"
    VOIDS = "voids"
    """Cancellations of usage events and credit grants. docs/use/correct-a-mistake.md."""
    METRICS = "metrics"
    """Samples of the actual CPU and memory use of sandboxes. docs/internals/utilisation.md."""
    RUNNING = "running"
    """Listings of the sandboxes that ran at an instant. Billing rules, section 4."""


class TimestampUnit(StrEnum):
    """The unit of a number where an instant is expected, since 1970-01-01T00:00:00Z."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    MICROSECONDS = "microseconds"
    NANOSECONDS = "nanoseconds"
