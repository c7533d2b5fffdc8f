"""Input files: hashed before they are read, and rejected if they change while they are read."""

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
from pipeline.landing.inbox import version_of, version_of_path
from pipeline.landing.record_kinds import Kind

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet", ".avro": "avro"}
HAS_COLUMNS = ("parquet", "avro")
"""Formats with a schema of columns, and compression of their own."""


@dataclass(frozen=True)
class InputFile:
    """A file to land that was hashed and not read yet; or the quarantined rows of one."""

    path: Path
    file_id: str
    """SHA-256 of its bytes, in hex. For records the kind is hashed too, so that a file may land again as another kind."""
    file_bytes: int
    format: str
    """jsonl, csv, parquet or avro; jsonl.gz, csv.zst and so on if compressed."""
    version: tuple[int, ...] | None
    """Inode, size and modification time when it was hashed."""
    parquet: Path | None = None
    """A converted copy to read, if the file has types that DuckDB does not read exactly."""
    lines: str | None = None
    """For rows from the quarantine, from a document or of Avro: the query for them (file_row, line, no_text, over_limit)."""
    header: str | None = None
    """For CSV rows from the quarantine: the header of their file."""
    has_flat_keys: bool = False
    """For rows of a format with columns, as JSON lines: a key may be named `resources.vcpu_count`, and a null clears no field."""
    columns: tuple[str, ...] = ()
    """Of Avro: the names of its columns."""

    @property
    def is_compressed(self) -> bool:
        return self.format.endswith((".gz", ".zst"))


def examine(path: Path, kind: Kind, how_read: str = "") -> InputFile:
    """Hash a file. Raises InputFileError if it is not a regular file, is empty, or has an unknown format.

    `how_read`: a source, or where the rows are; read in another way, the same content is another file.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise InputFileError(shown, "has a name that is not UTF-8.", "Rename it.") from None
    with _opened(path) as stream:
        suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
        is_compressed = suffixes[-1:] in ([".gz"], [".zst"])
        format = _SUFFIXES.get(suffixes[-2] if is_compressed and len(suffixes) > 1 else suffixes[-1] if suffixes else "")
        if format is None or (is_compressed and format in HAS_COLUMNS):
            raise InputFileError(
                path, "has an unknown format by its name.", "Name it .jsonl or .csv (also .gz or .zst), .parquet or .avro."
            )
        version = version_of(os.fstat(stream.fileno()))
        prefix = b"" if kind is Kind.USAGE and not how_read else f"{kind}\n{how_read}".encode()
        file_id = hashlib.file_digest(stream, lambda: hashlib.sha256(prefix)).hexdigest()
        size = stream.tell()
    if size == 0:
        raise InputFileError(path, "is empty: 0 bytes.", "Check that it was written completely, and land it again.")
    return InputFile(path, file_id, size, format + (suffixes[-1] if is_compressed else ""), version)


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with open_regular(path) as stream:
            yield stream
    except NotRegularError as error:
        raise InputFileError(path, str(error), error.next_step) from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputFileError(path, "does not exist.", "Check the path.") from None
    except ValueError:  # a null byte in the path
        raise InputFileError(path, "is not a valid path.", "Check the path.") from None
    except OSError as error:
        raise InputFileError(path, f"cannot be read: {error.strerror}.", "Check its name and permissions.") from error


def open_unchanged(file: InputFile) -> IO[bytes]:
    """Open a hashed file. Raises InputFileError if it changed since."""
    with _opened(file.path) as stream:
        if version_of(os.fstat(stream.fileno())) != file.version:
            raise _changed(file)
        return os.fdopen(os.dup(stream.fileno()), "rb")


@contextmanager
def while_unchanged(file: InputFile) -> Iterator[None]:
    """Raise InputFileError if the file changed before the end of the block, so that the rows read are not those hashed."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError):
        _check_unchanged(file)  # a change may have caused the error
        raise
    _check_unchanged(file)


def _check_unchanged(file: InputFile) -> None:
    if file.lines is None and version_of_path(file.path) != file.version:
        raise _changed(file)


def _changed(file: InputFile) -> InputFileError:
    return InputFileError(
        file.path,
        "was changed while it was read; none of its rows landed.",
        "Write it under a name that starts with a dot, rename it when it is complete, and land it again.",
    )
