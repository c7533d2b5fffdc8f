"""The kinds of records that land."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What the rows of a file are."""

    USAGE = "usage"
    SUBSCRIPTIONS = "subscriptions"
    CUSTOMERS = "customers"
    CREDIT_GRANTS = "credit_grants"
    METRICS = "metrics"
    """Samples of what sandboxes really used. docs/utilisation.md."""
