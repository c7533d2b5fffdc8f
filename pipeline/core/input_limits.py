"""Limits on input files. A row or file that exceeds one is rejected with its reason. docs/reference/input-files.md."""

from __future__ import annotations

MAX_ROW_BYTES = 1 << 16
"""Maximum bytes of a line of JSON or CSV, and of one text value in any format. DuckDB holds 2,048 rows in memory at a time."""
MAX_NESTING_LEVELS = 64
"""Maximum nesting depth of `metadata`. Other programs fail on deeper JSON."""
MAX_NUMBER_DIGITS = 1000
"""Maximum digits of a number inside `metadata`. Python refuses to parse integers of more than 4,300 digits."""
ALWAYS_ALLOWED_BYTES = 64 << 20
MAX_COMPRESSION_RATIO = 200
"""A compressed file may decompress to this multiple of its size, and to ALWAYS_ALLOWED_BYTES in any case."""
ALWAYS_ALLOWED_ROWS = 1_000_000
MAX_ROWS_PER_BYTE = 50
"""A Parquet file may have this many rows per byte, and ALWAYS_ALLOWED_ROWS in any case."""


def max_decompressed_bytes(file_bytes: int) -> int:
    """The maximum size in bytes, once decompressed, of a compressed file of `file_bytes`."""
    return max(ALWAYS_ALLOWED_BYTES, MAX_COMPRESSION_RATIO * file_bytes)
