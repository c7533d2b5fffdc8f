"""Bounds on what lands: what breaks one is refused alone, with its reason. docs/reference/input-files.md."""

from __future__ import annotations

LONGEST_ROW = 1 << 16
"""The bytes that a line of JSON or CSV may have, and one value of text in any format. DuckDB holds 2,048 rows at once."""
DEEPEST_NESTING = 64
"""The levels that `metadata` may have: much deeper, and other programs cannot read it."""
MOST_DIGITS = 1000
"""The digits that a number inside `metadata` may have: of over 4,300 Python makes no number."""
FREE_EXPANSION = 64 << 20
MOST_EXPANSION = 200
"""A compressed file may expand to so many times its bytes, and to FREE_EXPANSION bytes in any case."""
FREE_ROWS = 1_000_000
MOST_ROWS_PER_BYTE = 50
"""A Parquet file may have so many rows for each of its bytes, and FREE_ROWS in any case."""


def may_expand_to(file_bytes: int) -> int:
    """The bytes that a compressed file of this size may have once decompressed."""
    return max(FREE_EXPANSION, MOST_EXPANSION * file_bytes)
