"""Reads the CSV files of the price book as dbt does, and normalizes those that a spreadsheet program saved.

A byte order mark, CRLF line ends, quotes, and missing cells at the end of a row (which are empty) are accepted, by dbt too. Files
that dbt would read differently are reported by file and line: another delimiter, an empty row, a duplicate column.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.errors import Problem
from pipeline.core.files import remove_orphaned_folders, replace_atomically

FIX = "Normalize the file: billhouse check-prices --fix"
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True)
class SeedFile:
    """The content of a price book file."""

    header: tuple[str, ...] = ()
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """(line number, cells by column name). Cells that are missing at the end of a row are empty."""
    problems: list[Problem] = field(default_factory=list)
    """Why dbt would read it differently."""
    is_readable: bool = True
    """False if the rows could not be read, or not as intended."""


def read_seed(path: Path) -> SeedFile:
    """Read a price book file and check its format. Raises OSError if it cannot be opened."""
    shown = f"seeds/{path.name}"
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return SeedFile(problems=[Problem(shown, line, "is not UTF-8.", "Save the file as UTF-8.")], is_readable=False)
    delimiter = _delimiter(text)
    if delimiter != ",":
        reason = f"is delimited by {_DELIMITERS[delimiter]}."
        return SeedFile(problems=[Problem(shown, 1, reason, FIX)], is_readable=False)
    lines = _lines(text, ",")
    if not lines:
        return SeedFile(problems=[Problem(shown, 1, "is empty.", "Restore its header line.")], is_readable=False)
    header = tuple(lines[0][1])
    problems = list(_header_problems(shown, header))
    rows = []
    for line, cells in lines[1:]:
        if not any(cell.strip() for cell in cells):
            problems.append(Problem(shown, line, "is an empty row.", FIX))
        elif len(cells) > len(header):
            reason = f"has {len(cells)} cells, but the header has {len(header)} columns."
            problems.append(Problem(shown, line, reason, "Put cells that contain a comma in quotes, or remove the extra cells."))
        else:
            problems += _cell_problems(shown, line, header, cells)
            rows.append((line, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))))
    return SeedFile(header, rows, problems)


def normalize_seed_file(path: Path) -> bool:
    """Rewrite a file with commas, LF line ends, all cells, no empty rows or columns, and no blanks around cells.

    Values are not changed: dates and numbers that a program reformatted must be corrected by hand. Returns whether the file
    changed.
    """
    remove_orphaned_folders(path.parent, f".{path.name}.")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    delimiter = _delimiter(text)
    lines = [[cell.strip() for cell in cells] for _, cells in _lines(text, delimiter)]
    lines = [cells for cells in lines if any(cells)]
    if not lines:
        return False
    width = max(number for cells in lines for number, cell in enumerate(cells, start=1) if cell)
    normalized = io.StringIO()
    writer = csv.writer(normalized, lineterminator="\n")
    for cells in lines:
        writer.writerow((cells + [""] * width)[:width])
    if normalized.getvalue().encode() == content:
        return False
    with replace_atomically(path, mode=path.stat().st_mode & 0o777) as scratch:
        scratch.write_text(normalized.getvalue(), encoding="utf-8", newline="")
    return True


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return next((mark for mark in _DELIMITERS if mark in first and "," not in first), ",")


def _lines(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [(reader.line_num, cells) for cells in reader]


def _header_problems(shown: str, header: tuple[str, ...]) -> list[Problem]:
    repeated = [name for name, times in Counter(header).items() if times > 1 and name]
    problems = [Problem(shown, 1, f"has two columns named {name}.", "Remove one of them.") for name in repeated]
    if not all(name.strip() for name in header):
        problems.append(Problem(shown, 1, "has a column without a name.", f"Name the column. If it is empty: {FIX}"))
    return problems


def _cell_problems(shown: str, line: int, header: tuple[str, ...], cells: list[str]) -> list[Problem]:
    problems = []
    for name, cell in zip(header, cells, strict=False):
        if cell != cell.strip():
            problems.append(Problem(shown, line, f"{name} is '{cell}', with blanks around it.", FIX))
        elif cell.lower() == "null":
            problems.append(Problem(shown, line, f"{name} is '{cell}'.", "Leave the cell empty where there is no value."))
    return problems
