"""Several small files that are checked together; see row_numbers.

Files of one layout are read by one query: all files of JSON lines, CSV files with the same header, Parquet files with the same
columns and types.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import InputFileError
from pipeline.landing.csv_query import csv_header_line, csv_shape
from pipeline.landing.exact_numbers import ExactNumbers
from pipeline.landing.input_files import InputFile
from pipeline.landing.lines import LINES, LineReader
from pipeline.landing.parquet_query import parquet_layout
from pipeline.landing.record_kinds import Kind
from pipeline.landing.row_numbers import FILE_BITS, MAX_FILES, NumberedFiles
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import GROUP_SEPARATOR, UnreadColumns, note_shapes

_MAX_FILE_BYTES = 1 << 20
_MAX_COMPRESSED_BYTES = 1 << 17
_MAX_PARQUET_ROWS = 1 << 12
"""Of a file: a Parquet file of few bytes can have a million similar rows, and the rows of a group are sorted in memory."""
_MAX_GROUP_BYTES = 1 << 26
_FILE_SEPARATOR = "\x1d"


def may_be_grouped(file: InputFile, kind: Kind) -> bool:
    """Whether a file may be landed together with others: a small one, of a kind that is sent often, whose layout can be read."""
    limit = _MAX_FILE_BYTES if file.format in ("jsonl", "csv") else _MAX_COMPRESSED_BYTES
    if kind not in (Kind.USAGE, Kind.METRICS) or file.format == "avro" or file.file_bytes > limit:
        return False
    try:
        layout_of(file)
        return file.format != "parquet" or pq.read_metadata(file.path).num_rows <= _MAX_PARQUET_ROWS
    except (InputFileError, OSError, ValueError, pa.ArrowException):
        return False  # landed by itself, it is reported


def is_full(files: Sequence[InputFile]) -> bool:
    """Whether a group has as many files as it may."""
    return len(files) >= MAX_FILES or sum(file.file_bytes for file in files) >= _MAX_GROUP_BYTES


def layout_of(file: InputFile) -> Hashable:
    """What files must have in common to be read by one query. Raises InputFileError if the file's header cannot be read."""
    if file.format == "parquet":
        return parquet_layout(file)
    return csv_header_line(file) if file.format.startswith("csv") else None


def by_layout(files: NumberedFiles) -> list[NumberedFiles]:
    """The files, those of the same layout together."""
    found: dict[Hashable, dict[int, InputFile]] = {}
    for number, file in files.items():
        found.setdefault(layout_of(file), {})[number] = file
    return list(found.values())


@dataclass
class GroupReader:
    """Reads the lines of some files once; see LineReader."""

    files: NumberedFiles
    exact: ExactNumbers | None = None
    failure: InputFileError | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The lines as LINES, numbered through."""
        for number, file in self.files.items():
            reader = LineReader(file, self.exact, csv_shape(file) if file.format.startswith("csv") else None)
            try:
                for batch in reader.batches():
                    rows = pc.add(batch["file_row"], number << FILE_BITS) if number else batch["file_row"]
                    columns = [rows, *(batch[name] for name in LINES.names[1:])]
                    yield pa.RecordBatch.from_arrays(columns, schema=LINES)
            finally:
                self.failure = reader.failure


@dataclass
class GroupUnread:
    """The unread columns of each file of a group."""

    specification: Specification
    files: NumberedFiles
    shape_prefix: str = f"(file_row >> {FILE_BITS})::varchar || chr({ord(_FILE_SEPARATOR)}) || "
    """SQL: what is put before the keys of a row that are passed to `note_keys`."""
    _of_file: dict[int, UnreadColumns] = field(init=False)

    def __post_init__(self) -> None:
        assert _FILE_SEPARATOR != GROUP_SEPARATOR
        self._of_file = {number: UnreadColumns(self.specification) for number in self.files}

    def of_file(self, number: int) -> UnreadColumns:
        """Those of one file."""
        return self._of_file[number]

    def note_keys(self, shapes: pa.Array | pa.ChunkedArray, rows: pa.Array | pa.ChunkedArray) -> pa.Array:
        """As UnreadColumns.note_keys, of shapes with the number of the file before them."""
        return note_shapes(shapes, rows, self._process_shape)

    def _process_shape(self, shape: str, row: int) -> bool:
        number, _, keys = shape.partition(_FILE_SEPARATOR)
        return self._of_file[int(number)].process_shape(keys, row)
