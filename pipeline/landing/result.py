"""The result of landing: rows by outcome, per file and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.core.errors import Problem
from pipeline.landing.record_kinds import Kind
from pipeline.landing.unread_columns import shown_names


@dataclass(frozen=True)
class LandedFile:
    """The rows of one file by outcome: received = accepted + duplicates + quarantined + omitted."""

    file_name: str
    file_id: str
    received: int
    accepted: int
    duplicates: int
    quarantined: int
    by_reason: dict[str, int]
    is_already_landed: bool = False
    """The file had landed before: its rows are duplicates, except those in quarantine, which were checked again."""
    landed_as: str | None = None
    """The file id of the rows that landed now: the file's, or that of a retry of its quarantined rows; None: no rows landed."""
    unread_columns: list[str] = field(default_factory=list)
    """Columns and keys that no field reads, in the order of the file."""
    suggestions: dict[str, str] = field(default_factory=dict)
    """By unread name, the field with the most similar name."""
    misspelt_resources: list[str] = field(default_factory=list)
    """The unread names that resemble resources or quantities: these values are not billed."""
    starts_without: dict[str, int] = field(default_factory=dict)
    """By resource, the number of start events without it; they get the plan's default unless the stop event has a value."""
    example: str = ""
    """The reason and detail of the first row in quarantine with the most frequent reason."""

    source: str | None = None
    """The source that the file was read with."""
    omitted: int = 0
    """Rows that the source left out, or joined to another row."""

    @property
    def unread_text(self) -> str | None:
        """The unread columns as one text of limited length; None if there are none."""
        return shown_names(self.unread_columns)

    @property
    def accepted_share(self) -> Decimal:
        """The share of received rows that were accepted, now or earlier; without those that a source omitted."""
        judged = self.received - self.omitted
        return Decimal(self.accepted + self.duplicates) / judged if judged else Decimal(1)

    @property
    def refusal(self) -> str:
        """The message for a file with few accepted rows, with the next step."""
        return (
            f"{self.file_name}: {self.quarantined:,} of {self.received - self.omitted:,} rows are in quarantine."
            " The most frequent reason is"
            f" {self.example} Correct the sender, or the price book, --kind or --timestamps, and land the file again: its rows in"
            " quarantine are then checked again."
        )

    @property
    def quarantine_text(self) -> str:
        """For an alert: how many rows went to quarantine, the most frequent reason with an example, and the next step."""
        return (
            f"{self.file_name}: {self.quarantined:,} of {self.received - self.omitted:,} rows went to quarantine: they are not"
            f" billed. The most frequent reason is {self.example} billhouse quarantine lists all."
        )


@dataclass(frozen=True)
class LandingSummary:
    """The result of landing several files."""

    files: list[LandedFile] = field(default_factory=list)
    landed_paths: list[Path] = field(default_factory=list)
    """The paths of `files`, in the same order."""
    problems: list[Problem] = field(default_factory=list)
    """Files of which no row landed."""

    def mostly_refused(self, least_share: Decimal) -> list[LandedFile]:
        """Files with a smaller share of accepted rows, or with none."""
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
    def omitted(self) -> int:
        return sum(file.omitted for file in self.files)

    @property
    def newly_quarantined(self) -> list[LandedFile]:
        """New files with rows in quarantine, the one with the most first."""
        found = [file for file in self.files if file.quarantined and not file.is_already_landed]
        return sorted(found, key=lambda file: file.quarantined, reverse=True)

    @property
    def quarantine_text(self) -> str:
        """For an alert: how many rows went to quarantine, the most frequent reason with an example, and the next step."""
        files = self.newly_quarantined
        rows = sum(file.quarantined for file in files)
        received = sum(file.received - file.omitted for file in self.files)
        return (
            f"{rows:,} of {received:,} rows went to quarantine: they are not billed. The most, {files[0].quarantined:,}, are of"
            f" {files[0].file_name}. The most frequent reason there is {files[0].example} billhouse quarantine lists all."
        )

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
            "omitted": self.omitted,
            "by_reason": self.by_reason,
            "already_landed": sum(file.is_already_landed for file in self.files),
            "unread_columns": list(dict.fromkeys(name for file in self.files for name in file.unread_columns)),
            "mostly_refused": [file.file_name for file in mostly_refused],
            "problems": [vars(problem) for problem in self.problems],
            "details": [vars(file) for file in self.files],
        }


@dataclass(frozen=True)
class LandReport:
    """What a landing did, for Dagster's history."""

    summary: LandingSummary
    seconds: float
    kind: Kind | None
    """None: of each file, the kind that it landed as."""
    refusals: list[str] | None
    """A message for each file with few accepted rows; None where only rows in quarantine were checked again."""
    is_of_all_kinds: bool = False
    """Whether the landing looked for files of every kind, as a Dagster run does."""
