"""What a landing did, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import Problem


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


@dataclass(frozen=True)
class LandingSummary:
    """One call's files."""

    files: list[LandedFile] = field(default_factory=list)
    landed_paths: list[Path] = field(default_factory=list)
    """Where these files were, in the same order."""
    problems: list[Problem] = field(default_factory=list)
    """Files of which nothing landed."""

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

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "files": len(self.files),
            "received": self.received,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
            "by_reason": self.by_reason,
            "already_landed": sum(file.is_already_landed for file in self.files),
            "problems": [vars(problem) for problem in self.problems],
            "details": [vars(file) for file in self.files],
        }
