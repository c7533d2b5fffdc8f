"""Several small files that are checked together: their rows are numbered through, in the order of the files.

The number of a row in a group is the number of its file, times 2^40, plus its row. So the rows of earlier files come first, as if
the files had landed one after another. A file that is landed by itself has number 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import InputFileError
from pipeline.landing.exact_numbers import ExactNumbers
from pipeline.landing.input_files import InputFile
from pipeline.landing.lines import LINES, LineReader
from pipeline.landing.record_kinds import Kind
from pipeline.landing.specification import Specification
from pipeline.landing.unread_columns import GROUP_SEPARATOR, UnreadColumns

FILE_BITS = 40
ROW_MASK = (1 << FILE_BITS) - 1
MAX_FILES = 400
_MAX_FILE_BYTES = 1 << 20
_MAX_COMPRESSED_BYTES = 1 << 17
_MAX_GROUP_BYTES = 1 << 26
_FILE_SEPARATOR = "\x1d"


def may_be_grouped(file: InputFile, kind: Kind) -> bool:
    """Whether a file may be landed together with others: a small one of JSON lines, of a kind that is sent often."""
    limits = {"jsonl": _MAX_FILE_BYTES, "jsonl.gz": _MAX_COMPRESSED_BYTES, "jsonl.zst": _MAX_COMPRESSED_BYTES}
    return kind in (Kind.USAGE, Kind.METRICS) and file.file_bytes <= limits.get(file.format, -1)


def is_full(files: Sequence[InputFile]) -> bool:
    """Whether a group has as many files as it may."""
    return len(files) >= MAX_FILES or sum(file.file_bytes for file in files) >= _MAX_GROUP_BYTES


@dataclass
class GroupReader:
    """Reads the lines of several files once; see LineReader."""

    files: Sequence[InputFile]
    exact: ExactNumbers
    failure: InputFileError | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The lines as LINES, numbered through."""
        for number, file in enumerate(self.files):
            reader = LineReader(file, self.exact)
            try:
                for batch in reader.batches():
                    rows = pc.add(batch["file_row"], number << FILE_BITS)
                    columns = [rows, *(batch[name] for name in LINES.names[1:])]
                    yield pa.RecordBatch.from_arrays(columns, schema=LINES)
            finally:
                self.failure = reader.failure


@dataclass
class GroupUnread:
    """The unread columns of each file of a group."""

    specification: Specification
    files: Sequence[InputFile]
    of_file: list[UnreadColumns] = field(init=False)

    def __post_init__(self) -> None:
        self.of_file = [UnreadColumns(self.specification) for _ in self.files]

    def note_keys(self, shapes: pa.Array | pa.ChunkedArray) -> pa.Array:
        """As UnreadColumns.note_keys, of shapes with the number of the file before them."""
        whole = shapes.combine_chunks() if isinstance(shapes, pa.ChunkedArray) else shapes
        encoded = whole.dictionary_encode()
        flags = []
        for shape in encoded.dictionary.to_pylist():
            number, _, keys = (shape or "").partition(_FILE_SEPARATOR)
            flags.append(bool(number) and self.of_file[int(number)].process_shape(keys))
        return pc.take(pa.array(flags, pa.bool_()), encoded.indices)


SHAPE_PREFIX = f"(file_row >> {FILE_BITS})::varchar || chr({ord(_FILE_SEPARATOR)}) || "
"""SQL: what is before the shape of a row of a group."""
assert _FILE_SEPARATOR != GROUP_SEPARATOR
