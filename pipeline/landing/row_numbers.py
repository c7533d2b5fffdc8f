"""The numbers of rows that are checked together: rows of several files are numbered through, in the order of the files.

The number of a row is the number of its file, times 2^34, plus its row. So the rows of earlier files come first, as if the files
had landed one after another. A file that is landed by itself has number 0.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.landing.input_files import InputFile

NumberedFiles = Mapping[int, InputFile]
"""Files by their number, in order."""
FILE_BITS = 34
"""Enough for the rows of any file; a source's selected rows need 20 more bits (sources.selected_rows), and 400 files 9."""
ROW_MASK = (1 << FILE_BITS) - 1
MAX_FILES = 400
"""Of a group."""
NUMBER_MACROS = f"""
create or replace temp macro number_of_file(number) as number >> {FILE_BITS};
create or replace temp macro row_of_number(number) as number & {ROW_MASK};"""
"""What the numbers in table `checked` mean. Execute once per connection."""


def is_of_file(column: str, number: int) -> str:
    """SQL: whether a row, of its number in a column, is of the file with a number."""
    return f"{column} between {number << FILE_BITS} and {(number << FILE_BITS) + ROW_MASK}"
