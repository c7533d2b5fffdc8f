"""Exceptions and problems that are shown to users; each message ends with what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.core.plain_text import plain_line, plain_text


class BillhouseError(Exception):
    """An error to show to the user: one sentence that says what is wrong, one that says what to do.

    The command line prints it without a traceback and exits with 1. Control characters and secrets are removed from both
    sentences, so that they can be printed, logged and stored.
    """

    def __init__(self, message: str, next_step: str = "") -> None:
        self.message = plain_text(message)
        self.next_step = plain_text(next_step)
        super().__init__(f"{self.message} {self.next_step}".strip())

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class WrongUsageError(BillhouseError):
    """Invalid command-line usage: an unknown option, or an option or argument with an invalid value. Exits with 2."""


class NotPossibleError(BillhouseError):
    """The request is valid, and not possible yet or no longer possible. Nothing failed, so no alert is raised."""


class LockedError(BillhouseError):
    """Another command holds a lock."""


@dataclass(frozen=True)
class Problem:
    """One error in one place of one file, as data, so that all errors of a file can be reported at once."""

    file: str
    line: int | None
    """1-based line (for Parquet: row) in the file; None if the problem concerns the whole file."""
    reason: str
    next_step: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}, line {self.line}"
        return plain_line(f"{where}: {self.reason} {self.next_step}".strip())


class InputFileError(BillhouseError):
    """A file cannot be landed; none of its rows landed."""

    def __init__(self, file: str | Path, reason: str, next_step: str, line: int | None = None) -> None:
        self.problem = Problem(str(file), line, reason, next_step)
        super().__init__(str(self.problem))


class PriceBookError(BillhouseError):
    """The price book is invalid; nothing was built."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        listed = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"The price book has {len(problems)} problem(s); nothing was built.\n{listed}")
