"""Reads a text file as numbered lines, in blocks of limited size.

A line that is too long is cut off and rejected as a row. A compressed file that expands too far is rejected as a whole.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import InputFileError
from pipeline.core.input_limits import MAX_ROW_BYTES, max_decompressed_bytes
from pipeline.landing.exact_numbers import ExactNumbers, may_lose_digits
from pipeline.landing.input_files import InputFile, open_unchanged
from pipeline.landing.json_array import Readable, without_array
from pipeline.landing.quoted_rows import CsvShape, join_quoted

BYTE_ORDER_MARK = codecs.BOM_UTF8
LINES = pa.schema({"file_row": pa.int64(), "line": pa.string(), "no_text": pa.binary(), "over_limit": pa.string()})
TOO_LONG = "The line has more than"
"""The start of the quarantine detail of a line that was cut off."""
_BLOCK_BYTES = 8 << 20
_ZSTD_BYTES = 1 << 20
_BYTES_OF_LONG_LINE = 1000
OVER_LIMIT = f"{TOO_LONG} {MAX_ROW_BYTES:,} bytes, and was cut off. Shorten it, and land it in a new file."


@contextmanager
def open_text(file: InputFile) -> Iterator[IO[bytes]]:
    """Open a file to read its text, decompressed."""
    with open_unchanged(file) as stream:
        if file.format.endswith(".gz"):
            yield cast(IO[bytes], gzip.GzipFile(fileobj=stream))
        elif file.format.endswith(".zst"):
            yield cast(IO[bytes], io.BufferedReader(_ZstdStream(stream), _ZSTD_BYTES))
        else:
            yield stream


class _ZstdStream(io.RawIOBase):
    """A zstd-compressed stream, decompressed; it can be read again from its start."""

    def __init__(self, compressed: IO[bytes]) -> None:
        self._compressed = compressed
        self._earlier: list[pa.CompressedInputStream] = []
        """They would close the compressed stream when they are deleted."""
        self._stream = pa.CompressedInputStream(compressed, "zstd")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._stream.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        assert (offset, whence) == (0, os.SEEK_SET), "only its start is known"
        self._earlier.append(self._stream)
        self._compressed.seek(0)
        self._stream = pa.CompressedInputStream(self._compressed, "zstd")
        return 0

    def readinto(self, buffer: Any, /) -> int:
        read = self._stream.read(len(buffer))
        buffer[: len(read)] = read
        return len(read)


@dataclass
class LineReader:
    """Reads a file's lines once. DuckDB calls it and loses exceptions, so they are also stored in `failure`."""

    file: InputFile
    exact: ExactNumbers | None = None
    """Quotes numbers that a float cannot represent; None: lines are not changed."""
    shape: CsvShape | None = None
    """For CSV: how its rows look. A row may then have several lines, and is numbered by its first."""
    failure: InputFileError | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The lines as LINES, numbered from 1, without empty ones; of a JSON array, the elements.

        A line that is not UTF-8 is in `no_text`, with `line` null.
        """
        row, waiting = 1, b""
        try:
            with open_text(self.file) as stream:
                for block, end in self._blocks(without_array(self.file, stream)):
                    if not waiting and end < len(block) and _is_blank(block):
                        row += block.count(b"\n", 0, end) + 1
                        continue
                    if waiting:
                        block, end = waiting + block, len(waiting) + end
                    batch, count, waiting = self._numbered(block, end, row)
                    row += count
                    yield batch
                if waiting:
                    yield self._numbered(waiting, len(waiting) - 1, row, is_end=True)[0]
        except InputFileError as error:
            self.failure = error
            raise
        except (EOFError, zlib.error, OSError) as error:
            self.failure = read_error(self.file, error, row)
            raise

    def _blocks(self, stream: Readable) -> Iterator[tuple[bytes, int]]:
        """Blocks, each with the offset of its last line end. The start of a line that is too long is a block by itself."""
        maximum = max_decompressed_bytes(self.file.file_bytes) if self.file.is_compressed else None
        carried = stream.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
        size, is_cut = len(carried), False
        while chunk := stream.read(_BLOCK_BYTES):
            size += len(chunk)
            if maximum is not None and size > maximum:
                raise InputFileError(
                    self.file.path,
                    f"expands from {self.file.file_bytes:,} bytes to more than {maximum:,}; none of its rows landed.",
                    "Check its content. If it is as intended, decompress it and land that.",
                )
            if is_cut:
                end = chunk.find(b"\n")
                if end < 0:
                    continue
                chunk, is_cut = chunk[end + 1 :], False
            block = carried + chunk
            end = block.rfind(b"\n")
            carried = block[end + 1 :]
            if end >= 0:
                yield block, end
            if len(carried) > MAX_ROW_BYTES:
                yield carried, len(carried)
                carried, is_cut = b"", True
        if carried:
            yield carried, len(carried)

    def _numbered(self, block: bytes, end: int, first_row: int, *, is_end: bool = False) -> tuple[pa.RecordBatch, int, bytes]:
        """The lines of a block up to `end`, their number, and the lines after them whose row goes on in the next block.

        Splits without copying the block, which is much faster.
        """
        bounds = np.array([0, end], dtype=np.int32)
        whole = pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(bounds), pa.py_buffer(block)])
        lines = pc.split_pattern(whole, b"\n").flatten()
        count = len(lines)
        rows = np.arange(first_row, first_row + count, dtype=np.int64)
        waiting = b""
        if self.shape is not None and b'"' in block:
            has_odd_quotes = pc.equal(pc.bit_wise_and(pc.count_substring(lines, '"'), 1), 1).to_pylist()
            if any(has_odd_quotes):
                values = lines.to_pylist()
                joined, count = join_quoted(values, has_odd_quotes, self.shape, is_end=is_end)
                waiting = b"".join(value + b"\n" for value in values[count:])
                lines = pa.array([line for _, line in joined], pa.binary())
                rows = np.array([first_row + place for place, _ in joined], dtype=np.int64)
        lengths = pc.binary_length(lines).to_numpy()
        if not lengths.all():
            lines, rows, lengths = lines.filter(pa.array(lengths > 0)), rows[lengths > 0], lengths[lengths > 0]
        over_limit = pa.nulls(len(lines), pa.string())
        if (lengths > MAX_ROW_BYTES).any():
            lines, over_limit = cut_off(lines)
        exact_places = may_lose_digits(lines) if self.exact is not None else np.empty(0)
        try:
            text, no_text = lines.cast(pa.string()), pa.nulls(len(lines), pa.binary())
        except pa.ArrowInvalid:
            # Some line of the block is not UTF-8; decode each line separately.
            values = lines.to_pylist()
            text = pa.array([_decoded(value) for value in values], pa.string())
            no_text = pa.array(
                [value if known is None else None for value, known in zip(values, text.to_pylist(), strict=True)], pa.binary()
            )
        if self.exact is not None and exact_places.size:
            is_chosen = np.zeros(len(text), dtype=bool)
            is_chosen[exact_places] = True
            mask = pa.array(is_chosen)
            text = pc.replace_with_mask(text, mask, self.exact.column_in_quotes(text.filter(mask)))
        return pa.RecordBatch.from_arrays([pa.array(rows), text, no_text, over_limit], schema=LINES), count, waiting


def read_error(file: InputFile, error: Exception, row: int) -> InputFileError:
    """The error for a text file that could not be read from a row on."""
    what = "ends before its compressed data does" if isinstance(error, EOFError) else f"cannot be read ({error})"
    return InputFileError(
        file.path,
        f"{what}; none of its rows landed.",
        "Copy it again from its source, and land it again.",
        line=row,
    )


def _is_blank(block: bytes) -> bool:
    """Whether a block consists of blank lines: a fast check for files with gigabytes of them."""
    return len(block) > MAX_ROW_BYTES and block[:1].isspace() and not block.strip(b" \t\r\n")


def cut_off(lines: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The lines, those that are too long cut off, and the reason for rejecting these."""
    values = lines.to_pylist()
    is_long = [len(value) > MAX_ROW_BYTES for value in values]
    shown = [
        value[:_BYTES_OF_LONG_LINE].decode(errors="replace").encode() if too_long else value
        for value, too_long in zip(values, is_long, strict=True)
    ]
    return pa.array(shown, pa.binary()), pa.array([OVER_LIMIT if too_long else None for too_long in is_long], pa.string())


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None
