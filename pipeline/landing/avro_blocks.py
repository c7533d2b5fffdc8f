"""The blocks of an Avro object container file, decompressed within bounds.

The library would decompress a block of any size; so the blocks are found here, and it reads the rows inside of them.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
from fastavro import parse_schema, schemaless_reader

from pipeline.core.input_limits import max_decompressed_bytes

MAGIC = b"Obj\x01"
MAX_BLOCK_BYTES = 64 << 20
"""Maximum bytes of a block, as written and decompressed: it is held in memory."""
_MAX_HEADER_BYTES = 1 << 20
_HEADER: Any = parse_schema(
    {
        "type": "record",
        "name": "billhouse.Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "billhouse.Magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "billhouse.Sync", "size": 16}},
        ],
    }
)


class AvroFileError(ValueError):
    """The file cannot be read; the text says why and completes a sentence that begins with the file."""


@dataclass(frozen=True)
class Header:
    """What an Avro file begins with."""

    schema: bytes
    codec: str
    sync: bytes


def read_header(stream: IO[bytes]) -> Header:
    """Read the header, and leave the stream at the first block. Raises AvroFileError."""
    start = io.BytesIO(stream.read(_MAX_HEADER_BYTES))
    if not start.getvalue().startswith(MAGIC):
        raise AvroFileError("does not begin like an Avro file.")
    try:
        found: Any = schemaless_reader(start, _HEADER, None)
    except Exception as error:  # the library has many, also of Python: EOFError, IndexError, UnicodeDecodeError
        raise AvroFileError("has a header that is broken or too long.") from error
    stream.seek(start.tell())
    codec = found["meta"].get("avro.codec", b"null").decode(errors="replace")
    if codec not in _CODECS:
        raise AvroFileError(f"is compressed with {codec[:50]!r}. Readable: {', '.join(_CODECS)}.")
    return Header(found["meta"].get("avro.schema", b""), codec, found["sync"])


def blocks(stream: IO[bytes], header: Header, file_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The blocks after the header: number of rows, and their bytes. Raises AvroFileError."""
    decompressed, maximum = 0, max_decompressed_bytes(file_bytes)
    while (rows := _long(stream, may_end=True)) is not None:
        size = _long(stream)
        if rows < 0 or size is None or not 0 <= size <= MAX_BLOCK_BYTES:
            raise AvroFileError(f"is broken, or has a block of more than {MAX_BLOCK_BYTES:,} bytes.")
        content, end = stream.read(size), stream.read(len(header.sync))
        if len(content) < size or len(end) < len(header.sync):
            raise AvroFileError("is cut off.")
        if end != header.sync:
            raise AvroFileError("is broken: a block does not end with the file's sync marker.")
        try:
            block = _CODECS[header.codec](content, MAX_BLOCK_BYTES + 1)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
            raise AvroFileError(f"has a block that cannot be decompressed ({header.codec}).") from error
        decompressed += len(block)
        if len(block) > MAX_BLOCK_BYTES or (header.codec != "null" and decompressed > maximum):
            raise AvroFileError(
                f"expands to more than {maximum:,} bytes from {file_bytes:,}, or to more than {MAX_BLOCK_BYTES:,} in one block."
            )
        yield rows, block


def _long(stream: IO[bytes], *, may_end: bool = False) -> int | None:
    """A number of variable length; None at the end of the file, if that may be. Raises AvroFileError."""
    value = shift = 0
    while byte := stream.read(1):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return (value >> 1) ^ -(value & 1)
        if shift > 63:
            raise AvroFileError("is broken: a block has no size.")
    if may_end and not shift:
        return None
    raise AvroFileError("is cut off.")


def _snappy(content: bytes, most: int) -> bytes:
    """Snappy with the checksum that Avro adds. The content begins with its size, which is checked first."""
    size = shift = 0
    for byte in content[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size >= most:
        return bytes(most)  # too long: refused by its length
    block = pa.Codec("snappy").decompress(content[:-4], decompressed_size=size, asbytes=True)
    if zlib.crc32(block) != int.from_bytes(content[-4:], "big"):
        raise ValueError("wrong checksum")
    return bytes(block)


def _zstandard(content: bytes, most: int) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
        return bytes(stream.read(most))


def _whole(decompressor: Any, content: bytes, most: int) -> bytes:
    block: bytes = decompressor.decompress(content, most)
    if len(block) < most and not decompressor.eof:
        raise EOFError
    return block


_CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "null": lambda content, _: content,
    "deflate": lambda content, most: _whole(zlib.decompressobj(-zlib.MAX_WBITS), content, most),
    "snappy": _snappy,
    "zstandard": _zstandard,
    "bzip2": lambda content, most: _whole(bz2.BZ2Decompressor(), content, most),
    "xz": lambda content, most: _whole(lzma.LZMADecompressor(memlimit=MAX_BLOCK_BYTES * 2), content, most),
}
