"""What a landing did, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.core.errors import Problem
from pipeline.landing.unread import shown_names


@dataclass(frozen=True)
class LandedFile:
    """One file's rows, by what became of them: received = accepted + duplicates + quarantined."""

    file_name: str
    file_id: str
    received: int
    accepted: int
    duplicates: int
    quarantined: int
    by_reason: dict[str, int]
    is_already_landed: bool = False
    """Its rows are duplicates, but for those in quarantine, which were judged again."""
    landed_as: str | None = None
    """The file id under which rows of it landed now: its own, or that of judging its quarantined rows again; None: none did."""
    unread_columns: list[str] = field(default_factory=list)
    """Columns and keys that no field reads, by their order in the file."""
    suggestions: dict[str, str] = field(default_factory=dict)
    """By unread name, the field that was probably meant."""
    misspelt_resources: list[str] = field(default_factory=list)
    """The unread names among them that were probably meant as resources or quantities: nothing of them is billed."""
    starts_without: dict[str, int] = field(default_factory=dict)
    """By resource, how many starts do not name it: they get the default sandbox's of their plan, unless their end names it."""
    example: str = ""
    """What is wrong with the first row in quarantine."""

    @property
    def unread_text(self) -> str | None:
        """The unread columns as one text, not too long; None where there is none."""
        return shown_names(self.unread_columns)

    @property
    def accepted_share(self) -> Decimal:
        """Rows that are accepted now or before, of those received."""
        return Decimal(self.accepted + self.duplicates) / self.received if self.received else Decimal(1)

    @property
    def refusal(self) -> str:
        """Why so few of its rows were accepted, and what to do."""
        return (
            f"{self.file_name}: {self.quarantined:,} of {self.received:,} rows are in quarantine. The most frequent reason is"
            f" {self.example} Correct what sends them, or what they need (the price book, --kind, --timestamps), and land the"
            " file again: rows in quarantine are judged again."
        )


@dataclass(frozen=True)
class LandingSummary:
    """One call's files."""

    files: list[LandedFile] = field(default_factory=list)
    landed_paths: list[Path] = field(default_factory=list)
    """Where these files were, in the same order."""
    problems: list[Problem] = field(default_factory=list)
    """Files of which nothing landed."""

    def mostly_refused(self, least_share: Decimal) -> list[LandedFile]:
        """Files of which less than this share of the rows is accepted, or none is."""
        return [
            file
            for file in self.files
            if file.quarantined and (file.accepted_share < least_share or file.accepted + file.duplicates == 0)
        ]

    @property
    def received(self) -> int:
        return sum(file.received for file in self.files)

    @property
    def accepted(self) -> int:
        return sum(file.accepted for file in self.files)

    @property
    def duplicates(self) -> int:
        return sum(file.duplicates for file in self.files)

    @property
    def quarantined(self) -> int:
        return sum(file.quarantined for file in self.files)

    @property
    def by_reason(self) -> dict[str, int]:
        """Rows in quarantine by reason."""
        counted: Counter[str] = Counter()
        for file in self.files:
            counted.update(file.by_reason)
        return dict(sorted(counted.items()))

    def as_dict(self, mostly_refused: Sequence[LandedFile] = ()) -> dict[str, Any]:
        """For JSON."""
        return {
            "files": len(self.files),
            "received": self.received,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "by_reason": self.by_reason,
            "already_landed": sum(file.is_already_landed for file in self.files),
            "unread_columns": list(dict.fromkeys(name for file in self.files for name in file.unread_columns)),
            "mostly_refused": [file.file_name for file in mostly_refused],
            "problems": [vars(problem) for problem in self.problems],
            "details": [vars(file) for file in self.files],
        }
