"""Several small files that are checked together; see row_numbers.

Files of one layout are read by one query: all files of JSON lines, CSV files with the same header, Parquet files with the same
columns and types.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import InputFileError
from pipeline.landing.csv_query import csv_header_line, csv_shape
from pipeline.landing.exact_numbers import ExactNumbers
from pipeline.landing.input_files import InputFile
from pipeline.landing.lines import LINES, LineReader, open_text
from pipeline.landing.parquet_query import bytes_if_groupable, parquet_layout
from pipeline.landing.record_kinds import Kind
from pipeline.landing.row_numbers import FILE_BITS, MAX_FILES, NumberedFiles
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import GROUP_SEPARATOR, MAX_SHAPES, UnreadColumns, note_shapes

_MAX_FILE_BYTES = 1 << 20
"""Of a file, decompressed."""
_MAX_COMPRESSED_BYTES = 1 << 17
_MAX_PARQUET_ROWS = 1 << 12
"""Of a file: a Parquet file of few bytes can have a million similar rows, and the rows of a group are sorted in memory."""
_MAX_GROUP_BYTES = 1 << 26
"""Of the files of a group together, decompressed."""
_FILE_SEPARATOR = "\x1d"


def grouped_bytes(file: InputFile, kind: Kind) -> int | None:
    """The bytes, decompressed, of a file that may be landed together with others; None for a file that lands alone.

    A file may be grouped if it is small, of a kind that is sent often, and has a layout that can be read.
    """
    limit = _MAX_FILE_BYTES if file.format in ("jsonl", "csv") else _MAX_COMPRESSED_BYTES
    if kind not in (Kind.USAGE, Kind.METRICS) or file.format == "avro" or file.file_bytes > limit:
        return None
    try:
        size = _decompressed_bytes(file)
        if size is None or size > _MAX_FILE_BYTES:
            return None
        layout_of(file)
    except Exception:  # of any library that reads files, or of memory: landed alone, the file is reported
        return None
    return size


def _decompressed_bytes(file: InputFile) -> int | None:
    """The bytes of a small file, decompressed, counted up to one above the limit. None for Parquet that cannot be grouped."""
    if file.format == "parquet":
        return bytes_if_groupable(file, _MAX_PARQUET_ROWS)
    if not file.is_compressed:
        return file.file_bytes
    with open_text(file) as stream:
        return len(stream.read(_MAX_FILE_BYTES + 1))


def is_full(files: int, size: int) -> bool:
    """Whether a group of so many files and bytes has as many as it may."""
    return files >= MAX_FILES or size >= _MAX_GROUP_BYTES


def layout_of(file: InputFile) -> bytes | None:
    """A hash of the columns or the header that files must have in common to be read by one query; a header may be long.

    Raises InputFileError if the file's header cannot be read.
    """
    if file.format == "parquet":
        return hashlib.sha256(repr(parquet_layout(file)).encode()).digest()
    return hashlib.sha256(csv_header_line(file).encode()).digest() if file.format.startswith("csv") else None


def by_layout(files: NumberedFiles) -> list[NumberedFiles]:
    """The files, those of the same layout together."""
    found: dict[bytes | None, dict[int, InputFile]] = {}
    for number, file in files.items():
        found.setdefault(layout_of(file), {})[number] = file
    return list(found.values())


def check_row_numbers(connection: duckdb.DuckDBPyConnection, table: str, files: NumberedFiles) -> None:
    """Check that each row of a table is of one of the files of a group, and that each Parquet file has as many as it should.

    Raises InputFileError, so that the files land one by one.
    """
    found = dict(connection.execute(f"select file_row >> {FILE_BITS}, count(*) from {table} group by 1").fetchall())
    expected = {number: pq.read_metadata(file.path).num_rows for number, file in files.items() if file.format == "parquet"}
    if not found.keys() <= files.keys() or any(found.get(number, 0) != rows for number, rows in expected.items()):
        raise group_error(next(iter(files.values())))


def group_error(file: InputFile) -> InputFileError:
    """The error of the first file of a group whose files must land one by one."""
    return InputFileError(file.path, "cannot be read together with other files.", "Land it by itself.")


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
        # All files of a group together remember as many shapes as one file alone.
        most = max(1, MAX_SHAPES // len(self.files))
        self._of_file = {number: UnreadColumns(self.specification, most) for number in self.files}

    def of_file(self, number: int) -> UnreadColumns:
        """Those of one file."""
        return self._of_file[number]

    def note_keys(self, shapes: pa.Array | pa.ChunkedArray, rows: pa.Array | pa.ChunkedArray) -> pa.Array:
        """As UnreadColumns.note_keys, of shapes with the number of the file before them."""
        return note_shapes(shapes, rows, self._process_shape)

    def _process_shape(self, shape: str, row: int) -> bool:
        number, _, keys = shape.partition(_FILE_SEPARATOR)
        return self._of_file[int(number)].process_shape(keys, row)
