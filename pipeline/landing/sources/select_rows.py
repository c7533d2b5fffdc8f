"""Runs the selects of sources in a process of their own (worker.py), which is killed if it takes too long or too much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any

from pipeline.core.errors import BillhouseError
from pipeline.landing.row_numbers import FILE_BITS
from pipeline.landing.sources import worker
from pipeline.landing.sources.source_files import Source
from pipeline.landing.specification import Specification

LEAST_SECONDS = 120
"""What the select of a file may take, of wall clock."""
_ROWS_PER_SECOND = 2_000
"""Larger files may take a second more for each so many rows, and several files a second more for each."""
MAX_ROWS_FROM_ONE = 10_000
"""Rows that a source may make of one row."""
_MEMORY_LIMIT = "800MB"
_ADDRESS_SPACE = 2 << 30
"""In bytes: a single value, such as a list of a billion numbers, is no part of DuckDB's own limit."""
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SYSTEMROOT")
"""Environment variables of the process: it gets no keys and no settings."""


@dataclass(frozen=True)
class SelectedRows:
    """The result of a source's select."""

    path: Path
    """Parquet: (place, file_rows, row), where `row` is a JSON object of texts, and `place` orders the rows from a row."""
    failures: dict[int, str]
    """By file row, the error of the select for that row."""


@dataclass(frozen=True)
class FileToSelectFrom:
    """A file whose rows are selected from, alone."""

    number: int
    name: str
    columns: Sequence[str]
    """Keys of the rows that the select finds as columns too."""


@dataclass
class SelectProcess:
    """A context in which selects can run. The process starts with the first of them."""

    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def __enter__(self) -> SelectProcess:
        return self

    def __exit__(self, type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop()

    def run(
        self, source: Source, spec: Specification, rows: Path, count: int, files: Sequence[FileToSelectFrom], folder: Path
    ) -> SelectedRows:
        """Run a source's select on each of some files: on its rows in a Parquet file (file_row, row), which has `count` of them.

        Raises BillhouseError if the select is wrong for a file, takes too long or needs too much memory.
        """
        request = {
            "sql": source.sql,
            "input": str(rows),
            "files": [[file.number << FILE_BITS, file.name, list(file.columns)] for file in files],
            "folder": str(folder),
            "fields": [name for field in spec.fields for name in (field.name, *field.paths) if "." not in name],
            "required": [[field.name, *field.paths] for field in spec.fields if field.is_required],
            "max_rows": MAX_ROWS_FROM_ONE,
        }
        seconds = LEAST_SECONDS + count / _ROWS_PER_SECOND + len(files) - 1
        answer = self._ask(request, seconds)
        where = f"The select of source '{source.name}'"
        if answer is None:
            raise BillhouseError(
                f"{where} did not end within {seconds:.0f} seconds, or ended the process.",
                f"Correct {source.path}, or split the file.",
            )
        if "error" in answer:
            raise BillhouseError(f"{where} fails: {answer['error']}", f"Correct {source.path}.")
        return SelectedRows(Path(answer["output"]), {int(row): str(error) for row, error in answer["failures"]})

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """The answer of the process; None if it has died or was killed."""
        process = self._process = self._process if self._process is not None else _started()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = Timer(seconds, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
        except (OSError, ValueError):
            self._stop()
            return None
        finally:
            timer.cancel()
        return answer

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _started() -> subprocess.Popen[str]:
    limits = json.dumps({"memory": _MEMORY_LIMIT, "address_space": _ADDRESS_SPACE})
    return subprocess.Popen(  # noqa: S603 - our own file
        [sys.executable, "-P", worker.__file__, limits],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
    )
