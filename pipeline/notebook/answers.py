"""Answers of billhouse.duckdb: each query opens the file by its path, read-only, so that the next one sees the next build."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb

from pipeline.core.home import Home
from pipeline.core.sql import quoted, rows_as_dictionaries

Version = tuple[int, int]
"""Which build's file it is: its inode and the time of its last change in nanoseconds."""
_MOST_ANSWERS = 200
"""Of the current file; they are small, since questions aggregate or have a limit."""
_MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Answer:
    """The rows of a query."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


class NothingBuiltError(Exception):
    """There is no billhouse.duckdb yet."""


class Reports:
    """The analysts' file of a home. Safe to use by several threads."""

    def __init__(self, home: Home) -> None:
        self.file: Path = home.analysts_file
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._version: Version | None = None
        self._lock = Lock()

    def version(self) -> Version | None:
        """The version of the file that is there now; None before the first build."""
        try:
            status = self.file.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def answer(self, sql: str) -> Answer:
        """The answer as of the file that is there now; a repeated query of the same file is not run again.

        Raises NothingBuiltError before the first build, and duckdb.Error for a query that fails.
        """
        for _ in range(_MOST_ATTEMPTS):
            version = self._forget_older()
            with self._lock:
                if (known := self._answers.get(sql)) is not None and version == self._version:
                    return known
            answer = self._query(sql)
            if self.version() != version:  # a build replaced the file meanwhile: ask the new one
                continue
            with self._lock:
                if version == self._version:
                    self._answers[sql] = answer
                    while len(self._answers) > _MOST_ANSWERS:
                        self._answers.popitem(last=False)
            return answer
        return answer

    def as_of(self) -> datetime | None:
        """The instant of the build; None where there is no customer yet."""
        rows = self.answer("select max(as_of) as as_of from billing.customer_balances").rows
        found: datetime | None = rows[0]["as_of"]
        return found

    def _forget_older(self) -> Version:
        version = self.version()
        if version is None:
            raise NothingBuiltError
        with self._lock:
            if version != self._version:
                self._answers.clear()
                self._version = version
        return version

    def _query(self, sql: str) -> Answer:
        # In memory, with the file attached: a file that is opened by name shares the instance of other threads that still read
        # the one before it, and with it that build's rows.
        with duckdb.connect(config={"threads": "2"}) as connection:
            connection.execute("set TimeZone = 'UTC'")
            try:
                connection.execute(f"attach {quoted(self.file)} as billhouse (read_only)")
            except duckdb.IOException:
                if self.version() is None:
                    raise NothingBuiltError from None
                raise
            connection.execute("use billhouse")
            connection.execute("set enable_external_access = false; set lock_configuration = true")
            result = connection.execute(sql)
            columns = [column[0] for column in result.description or ()]
            return Answer(columns, rows_as_dictionaries(result))
