"""An item of the closing checklist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class CheckState(StrEnum):
    """The state of an item."""

    OK = "ok"
    ATTENTION = "attention"
    """A person should look first: the close is not refused, but it may bill too little, or adjust closed months."""
    BLOCKS = "blocks"
    """The close would be refused, or would miss usage that is known."""

    @property
    def words(self) -> str:
        """For people."""
        return {"ok": "fine", "attention": "look first", "blocks": "stops the close"}[self.value]


@dataclass(frozen=True)
class ChecklistItem:
    """Something that must be so before a month is closed."""

    name: str
    """Stable, for programs: 'grace_period'."""
    title: str
    state: CheckState
    detail: str
    next_step: str = ""
    """What to do; empty if nothing is."""
    examples: Sequence[Mapping[str, Any]] = ()
    """The largest or most frequent cases, at most ten; amounts are text."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "state": str(self.state),
            "detail": self.detail,
            "next_step": self.next_step,
            "examples": [dict(example) for example in self.examples],
        }


def item(
    name: str, title: str, state: CheckState, detail: str, next_step: str = "", *examples: Mapping[str, Any]
) -> ChecklistItem:
    """An item; one that is ok has no next step."""
    return ChecklistItem(name, title, state, detail, "" if state is CheckState.OK else next_step, examples)


def shown_minute(instant: datetime) -> str:
    """An instant for people: '2026-10-03 00:00 UTC'."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
