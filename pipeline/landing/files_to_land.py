"""The file that lands: examined and hashed before it is read, and held to what it was then."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO

import duckdb
import pyarrow as pa

from pipeline.core.errors import InputFileError
from pipeline.core.regular_files import NotRegularError, open_regular
from pipeline.landing.inbox import version, version_of
from pipeline.landing.record_kinds import Kind

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}


@dataclass(frozen=True)
class Source:
    """A file to land, looked at but not yet read."""

    path: Path
    file_id: str
    """SHA-256 of its bytes, in hex. For records, their kind goes first: what landed as the wrong kind may land as the right."""
    file_bytes: int
    format: str
    """jsonl, csv or parquet; the text formats with `.gz` where compressed."""
    version: tuple[int, ...] | None
    """Which file it was when its bytes were hashed, and of which time."""
    parquet: Path | None = None
    """A copy to read instead, where the file has types that DuckDB does not read exactly."""
    lines: str | None = None
    """A query for its rows (file_row, line, no_text, over_limit), where they do not come from a file but from the quarantine."""
    header: str | None = None
    """The header that these lines of CSV had."""
    flat_keys: bool = False
    """Whether the rows were columns of Parquet, of which one may be named `resources.vcpu_count`."""


def examine(path: Path, kind: Kind) -> Source:
    """Look at a file and hash it. Raises InputFileError where it is none that can be landed."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise InputFileError(shown, "has a name that is not UTF-8.", "Give it another name.") from None
    with _opened(path) as stream:
        suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
        is_compressed = suffixes[-1:] == [".gz"]
        format = _SUFFIXES.get(suffixes[-2] if is_compressed and len(suffixes) > 1 else suffixes[-1] if suffixes else "")
        if format is None or (is_compressed and format == "parquet"):
            raise InputFileError(path, "is of no known format by its name.", "Name it .jsonl or .csv (also .gz), or .parquet.")
        seen = version_of(os.fstat(stream.fileno()))
        prefix = b"" if kind is Kind.USAGE else f"{kind}\n".encode()
        file_id = hashlib.file_digest(stream, lambda: hashlib.sha256(prefix)).hexdigest()
        size = stream.tell()
    if size == 0:
        raise InputFileError(path, "is empty: 0 bytes.", "Check that it was written to its end, and land it again.")
    return Source(path, file_id, size, format + (".gz" if is_compressed else ""), seen)


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with open_regular(path) as stream:
            yield stream
    except NotRegularError as error:
        raise InputFileError(path, str(error), error.next_step) from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputFileError(path, "there is no such file.", "Check the path.") from None
    except ValueError:  # a zero byte in its name
        raise InputFileError(path, "is no name that a file can have.", "Check the path.") from None
    except OSError as error:
        raise InputFileError(path, f"cannot be read: {error.strerror}.", "Check its name and its permissions.") from error


def open_unchanged(source: Source) -> IO[bytes]:
    """Open the file that was examined. Raises InputFileError where another is in its place by now."""
    with _opened(source.path) as stream:
        if version_of(os.fstat(stream.fileno())) != source.version:
            raise _changed(source)
        return os.fdopen(os.dup(stream.fileno()), "rb")


@contextmanager
def while_unchanged(source: Source) -> Iterator[None]:
    """Raise InputFileError where somebody wrote to the file before the block's end: what was read is not what was hashed."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError):
        _check_unchanged(source)  # which may be why it could not be read
        raise
    _check_unchanged(source)


def _check_unchanged(source: Source) -> None:
    if source.lines is None and version(source.path) != source.version:
        raise _changed(source)


def _changed(source: Source) -> InputFileError:
    return InputFileError(
        source.path,
        "was written to while it was read; nothing of it landed.",
        "Write it under a name that begins with a dot, rename it when it is whole, and land it again.",
    )
