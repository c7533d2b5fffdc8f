"""A text file as numbered lines, in blocks of bounded size; what is too long, or expands too far, is told.

A line that is too long is one row of which the beginning comes. A file that expands too far is refused as a whole.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import InputFileError
from pipeline.core.input_limits import MAX_ROW_BYTES, max_decompressed_bytes
from pipeline.landing.exact_numbers import ExactNumbers, may_lose_digits
from pipeline.landing.files_to_land import Source, open_unchanged

BYTE_ORDER_MARK = codecs.BOM_UTF8
LINES = pa.schema({"file_row": pa.int64(), "line": pa.string(), "no_text": pa.binary(), "over_limit": pa.string()})
TOO_LONG = "The line has more than"
"""How the detail of a row begins whose line was cut off."""
_BLOCK_BYTES = 8 << 20
_KEPT_OF_A_LONG_LINE = 1000
_OVER_LIMIT = f"{TOO_LONG} {MAX_ROW_BYTES:,} bytes, of which the beginning is kept. Shorten it, and land it in a new file."


@contextmanager
def open_text(source: Source) -> Iterator[IO[bytes]]:
    """The file's text, decompressed where it is compressed."""
    with open_unchanged(source) as stream:
        yield cast(IO[bytes], gzip.GzipFile(fileobj=stream)) if source.format.endswith(".gz") else stream


@dataclass
class LineReader:
    """Reads a file's lines once. What goes wrong is left in `failure`, since the caller is DuckDB."""

    source: Source
    exact: ExactNumbers | None = None
    """Puts numbers in quotes that a float does not hold; None: lines stay as they came."""
    failure: InputFileError | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The lines as LINES, numbered from 1; empty lines are left out. Not UTF-8: it is in `no_text`, and `line` is null."""
        row = 1
        try:
            with open_text(self.source) as stream:
                for block, end in self._blocks(stream):
                    if end < len(block) and _is_blank(block):
                        row += block.count(b"\n", 0, end) + 1
                        continue
                    batch, count = self._numbered(block, end, row)
                    row += count
                    yield batch
        except InputFileError as error:
            self.failure = error
            raise
        except (EOFError, zlib.error, OSError) as error:
            self.failure = unread(self.source, error, row)
            raise

    def _blocks(self, stream: IO[bytes]) -> Iterator[tuple[bytes, int]]:
        """Blocks, each with the end of its last whole line. Of a line that is too long comes the beginning, as a block alone."""
        most = max_decompressed_bytes(self.source.file_bytes) if self.source.format.endswith(".gz") else None
        carried = stream.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
        size, is_cut = len(carried), False
        while chunk := stream.read(_BLOCK_BYTES):
            size += len(chunk)
            if most is not None and size > most:
                raise InputFileError(
                    self.source.path,
                    f"expands from {self.source.file_bytes:,} bytes to more than {most:,}; nothing of it landed.",
                    "Check what is in it. If it is meant, land it decompressed.",
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

    def _numbered(self, block: bytes, end: int, first_row: int) -> tuple[pa.RecordBatch, int]:
        """The lines of a block up to `end`, and how many they are. That the block is not copied to be split is felt."""
        bounds = np.array([0, end], dtype=np.int32)
        whole = pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(bounds), pa.py_buffer(block)])
        lines = pc.split_pattern(whole, b"\n").flatten()
        count = len(lines)
        rows = np.arange(first_row, first_row + count, dtype=np.int64)
        lengths = pc.binary_length(lines).to_numpy()
        if not lengths.all():
            lines, rows, lengths = lines.filter(pa.array(lengths > 0)), rows[lengths > 0], lengths[lengths > 0]
        over_limit = pa.nulls(len(lines), pa.string())
        if (lengths > MAX_ROW_BYTES).any():
            lines, over_limit = _cut_off(lines)
        exact_places = may_lose_digits(lines) if self.exact is not None else np.empty(0)
        try:
            text, no_text = lines.cast(pa.string()), pa.nulls(len(lines), pa.binary())
        except pa.ArrowInvalid:
            # One line of the block, or more, is no UTF-8: only then is each looked at by itself.
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
        return pa.RecordBatch.from_arrays([pa.array(rows), text, no_text, over_limit], schema=LINES), count


def unread(source: Source, error: Exception, row: int) -> InputFileError:
    """Why a text file could not be read from some line on."""
    what = "ends before its compressed data does" if isinstance(error, EOFError) else f"cannot be read ({error})"
    return InputFileError(
        source.path,
        f"{what}; nothing of it landed.",
        "Copy it again from where it comes from, and land it again.",
        line=row,
    )


def _is_blank(block: bytes) -> bool:
    """Whether a block has nothing but blank lines: gigabytes of them are soon read."""
    return len(block) > MAX_ROW_BYTES and block[:1].isspace() and not block.strip(b" \t\r\n")


def _cut_off(lines: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The lines with the beginning of those that are too long, and why these are refused."""
    values = lines.to_pylist()
    is_long = [len(value) > MAX_ROW_BYTES for value in values]
    shown = [
        value[:_KEPT_OF_A_LONG_LINE].decode(errors="replace").encode() if too_long else value
        for value, too_long in zip(values, is_long, strict=True)
    ]
    return pa.array(shown, pa.binary()), pa.array([_OVER_LIMIT if too_long else None for too_long in is_long], pa.string())


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None
