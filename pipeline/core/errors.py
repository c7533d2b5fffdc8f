"""What can go wrong in a way that a person can mend, with the next step in the message."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.core.plain_text import plain_line, plain_text


class BillhouseError(Exception):
    """A failure to show to a person: one sentence of what happened, one of what to do next.

    The command line prints it without a traceback and exits with 1. Its words are safe to show and to keep: no control
    character, no secret.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        self.message = plain_text(message)
        self.next_step = plain_text(next_step)
        super().__init__(f"{self.message} {self.next_step}".strip())

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class WrongUsageError(BillhouseError):
    """The command was called with words that cannot be meant; exits with 2."""


class NotPossibleError(BillhouseError):
    """What was asked for is not possible yet, or not any more. Nothing failed: no alert is kept."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one place in one file: data, so that many can be shown at once."""

    file: str
    line: int | None
    """1-based line (for Parquet: row) in the file, or None where the whole file is meant."""
    reason: str
    next_step: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}, line {self.line}"
        return plain_line(f"{where}: {self.reason} {self.next_step}".strip())


class InputFileError(BillhouseError):
    """A file that cannot be read as a whole; nothing of it landed."""

    def __init__(self, file: str | Path, reason: str, next_step: str, line: int | None = None) -> None:
        self.problem = Problem(str(file), line, reason, next_step)
        super().__init__(str(self.problem))


class PriceBookError(BillhouseError):
    """The seeds contradict themselves; nothing was built."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        listed = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"The price book has {len(problems)} problem(s); nothing was built.\n{listed}")
