"""Billing periods: calendar months in UTC, [start, end). Billing rules, section 2."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.core.errors import WrongUsageError

_PERIOD = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, order=True)
class BillingPeriod:
    """One calendar month in UTC."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> BillingPeriod:
        """'2026-10' -> October 2026. Raises WrongUsageError for anything else."""
        match = _PERIOD.fullmatch(text)
        if match is None:
            raise WrongUsageError(f"'{text}' is not a billing period.", "Write a month as YYYY-MM, for example 2026-10.")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def containing(cls, instant: datetime) -> BillingPeriod:
        """The UTC month that contains an instant (with an offset)."""
        utc = instant.astimezone(UTC)
        return cls(utc.year, utc.month)

    @property
    def start(self) -> datetime:
        """First instant of the month (inclusive), UTC."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """First instant after the month (exclusive), UTC."""
        return self.next().start

    def next(self) -> BillingPeriod:
        """The month after this one."""
        return BillingPeriod(self.year + self.month // 12, self.month % 12 + 1)

    def previous(self) -> BillingPeriod:
        """The month before this one."""
        return BillingPeriod(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


def parse_instant(text: str) -> datetime:
    """ISO 8601 -> instant in UTC. Without an offset the text is in UTC; a date alone is its first instant.

    Raises WrongUsageError.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsageError(f"'{text}' is not an instant.", "Write it in ISO 8601, for example 2026-11-01T00:00:00Z.") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
