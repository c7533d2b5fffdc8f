"""The rows of an Avro file as JSON lines, which are then read like any others. docs/reference/input-files.md."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import simplejson
from fastavro import schemaless_reader

from pipeline.core.errors import InputFileError
from pipeline.core.input_limits import ALWAYS_ALLOWED_ROWS, MAX_ROW_BYTES, MAX_ROWS_PER_BYTE
from pipeline.core.sql import parquet_files
from pipeline.landing.avro_blocks import AvroFileError, blocks, read_header
from pipeline.landing.avro_schema import AvroSchemaError, column_names, row_schema
from pipeline.landing.input_files import InputFile, open_unchanged, while_unchanged
from pipeline.landing.lines import LINES, cut_off

MAX_AVRO_ROW_BYTES = 4 * MAX_ROW_BYTES
"""Maximum bytes of a row as Avro. Where a longer one ends cannot be known without reading it into memory."""
_ROWS_AT_ONCE = 5_000
_TEXT_AT_ONCE = 8 << 20


def with_avro_rows(file: InputFile, folder: Path) -> InputFile:
    """The file with its rows as lines, numbered from 1, from a copy in `folder`. Raises InputFileError."""
    copy = folder / "avro_rows.parquet"
    with while_unchanged(file), open_unchanged(file) as stream:
        try:
            header = read_header(stream)
            schema = row_schema(header.schema)
            with pq.ParquetWriter(copy, LINES, compression="zstd", compression_level=1) as writer:
                for batch in _batches(_rows(stream, header, schema, file)):
                    writer.write_batch(batch)
        except (AvroFileError, AvroSchemaError) as error:
            raise InputFileError(
                file.path, f"{error} None of its rows landed.", "Copy it again from its source, or write it as JSON lines."
            ) from error
    return replace(file, lines=f"select * from {parquet_files(copy)}", has_flat_keys=True, columns=tuple(column_names(schema)))


def _rows(stream: IO[bytes], header: Any, schema: dict[str, Any], file: InputFile) -> Iterator[str]:
    """Each row as JSON. Raises AvroFileError."""
    number, maximum = 0, max(ALWAYS_ALLOWED_ROWS, MAX_ROWS_PER_BYTE * file.file_bytes)
    for count, content in blocks(stream, header, file.file_bytes):
        if number + count > maximum:
            raise AvroFileError(f"has more than {maximum:,} rows in {file.file_bytes:,} bytes.")
        # A short block cannot contain a long row, and is read faster without looking for one.
        block = io.BytesIO(content) if len(content) <= MAX_AVRO_ROW_BYTES else _BoundedRows(content)
        for _ in range(count):
            number += 1
            if isinstance(block, _BoundedRows):
                block.end = block.tell() + MAX_AVRO_ROW_BYTES
            try:
                row = schemaless_reader(block, schema, None, handle_unicode_errors="surrogateescape")
            except AvroFileError as error:
                raise AvroFileError(f"{error} It is row {number:,}.") from error
            except Exception as error:  # the library has many, also of Python: EOFError, IndexError, struct.error
                raise AvroFileError(f"is broken in row {number:,}.") from error
            yield _as_json(row)
        if block.tell() != len(content):
            raise AvroFileError(f"is broken: bytes follow row {number:,} in its block.")


class _BoundedRows(io.BytesIO):
    """A block of which no row may read beyond `end`."""

    end = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or self.tell() + size > self.end:
            if size is not None and self.tell() + size > len(self.getbuffer()):
                raise EOFError
            raise AvroFileError(f"has a row of more than {MAX_AVRO_ROW_BYTES:,} bytes.")
        return super().read(size)


def _as_json(row: Any) -> str:
    try:
        text: str = simplejson.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # NaN or infinity, which no field accepts: as text, the row says so
        text = simplejson.dumps(_finite(row), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _batches(rows: Iterator[str]) -> Iterator[pa.RecordBatch]:
    """The rows as LINES. A row with bytes that are not UTF-8 is in `no_text`."""
    lines: list[bytes] = []
    first, size = 1, 0
    for row in rows:
        lines.append(row.encode(errors="surrogateescape"))
        size += len(lines[-1])
        if len(lines) >= _ROWS_AT_ONCE or size >= _TEXT_AT_ONCE:
            yield _batch(lines, first)
            first, size, lines = first + len(lines), 0, []
    yield _batch(lines, first)


def _batch(lines: list[bytes], first: int) -> pa.RecordBatch:
    cut, over_limit = cut_off(pa.array(lines, pa.binary()))
    texts: list[str | None] = []
    others: list[bytes | None] = []
    for line in cut.to_pylist():
        try:
            texts.append(line.decode())
            others.append(None)
        except UnicodeDecodeError:
            texts.append(None)
            others.append(line)
    rows = pa.array(range(first, first + len(lines)), pa.int64())
    return pa.RecordBatch.from_arrays(
        [rows, pa.array(texts, pa.string()), pa.array(others, pa.binary()), over_limit], schema=LINES
    )
