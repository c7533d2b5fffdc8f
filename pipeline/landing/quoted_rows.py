"""Joins the lines of a CSV row that has line breaks in its quoted cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.input_limits import MAX_ROW_BYTES


@dataclass(frozen=True)
class CsvShape:
    """How the rows of a CSV file look, by its header."""

    delimiter: str
    cells: int

    def is_row(self, text: bytes) -> bool:
        """Whether a text is one row with the header's number of cells."""
        try:
            rows = list(csv.reader(io.StringIO(text.decode(), newline=""), delimiter=self.delimiter, strict=True))
        except (csv.Error, UnicodeDecodeError):
            return False
        return len(rows) == 1 and len(rows[0]) == self.cells


def join_quoted(
    lines: Sequence[bytes], has_odd_quotes: Sequence[bool], shape: CsvShape, *, is_end: bool
) -> tuple[list[tuple[int, bytes]], int]:
    """The rows of these lines, each with the place of its first line, and the place from which on lines wait for the next block.

    A row ends with the line that closes its quotes. It counts as one only if it is a row of the header's shape of at most
    MAX_ROW_BYTES, and no line inside is such a row by itself: two stray quotes must not hide the rows between them. Otherwise the
    line with the quote is a row by itself, and rejected.
    """
    rows: list[tuple[int, bytes]] = []
    place = 0
    while place < len(lines):
        last = place
        if has_odd_quotes[place]:
            closing, is_waiting = _closing_line(lines, has_odd_quotes, place)
            if is_waiting and not is_end:
                return rows, place
            if (
                closing is not None
                and shape.is_row(b"\n".join(lines[place : closing + 1]))
                and not any(map(shape.is_row, lines[place + 1 : closing]))
            ):
                last = closing
        rows.append((place, b"\n".join(lines[place : last + 1])))
        place = last + 1
    return rows, place


def _closing_line(lines: Sequence[bytes], has_odd_quotes: Sequence[bool], opening: int) -> tuple[int | None, bool]:
    """The line that closes the quotes that one opens, within the bytes of a row; and whether the lines end before either."""
    size = len(lines[opening])
    for place in range(opening + 1, len(lines)):
        size += 1 + len(lines[place])
        if size > MAX_ROW_BYTES:
            return None, False
        if has_odd_quotes[place]:
            return place, False
    return None, size <= MAX_ROW_BYTES
