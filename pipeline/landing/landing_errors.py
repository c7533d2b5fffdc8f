"""Which errors of a landing are the file's, and which the home's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from pipeline.core.errors import BillhouseError, InputFileError
from pipeline.core.failures import to_billhouse_error
from pipeline.core.home import Home
from pipeline.landing.row_checks import MEMORY_LIMIT


@contextmanager
def writing_to(home: Home, failure: str) -> Iterator[None]:
    """Raise a disk error of the block as a BillhouseError that starts with `failure`."""
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        known = to_billhouse_error(error)
        raise BillhouseError(f"{failure}: {home.path} cannot be written to. {known.message}", known.next_step) from error


@contextmanager
def reading_from(file: Path | str) -> Iterator[None]:
    """Raise an error that the file may have caused as an InputFileError, so that other files land."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        if "offload" in str(error):  # the disk of the home is full
            raise
        next_step = "Split it into smaller files, and land those."
        raise InputFileError(file, f"needs more memory than the limit of a landing, {MEMORY_LIMIT}.", next_step) from error
    except (duckdb.IOException, BillhouseError, OSError):
        raise
    except (duckdb.Error, pa.ArrowException, ValueError, RecursionError, MemoryError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputFileError(
            file, f"cannot be read ({cause[:300]}); none of its rows landed.", "Convert it to another format, and land that."
        ) from error
