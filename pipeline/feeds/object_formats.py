"""The format of an object, from its first bytes: names in a bucket may have no suffix, or a wrong one."""

from __future__ import annotations

import io
import zlib

import pyarrow as pa

HEAD_BYTES = 64 << 10
"""What is read of an object to find its format."""
_TEXT_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv")
_HAS_COLUMNS = {b"PAR1": ".parquet", b"Obj\x01": ".avro"}
_COMPRESSED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
_BLANK = b"\xef\xbb\xbf \t\r\n"


class UnknownFormatError(ValueError):
    """The object is in no format that lands."""


def suffix_of(name: str, head: bytes) -> str:
    """The suffix that the object's copy gets, as .json.gz: compression by its content, and the rest by its name or its content.

    `name`: the last part of the key. `head`: its first HEAD_BYTES. Raises UnknownFormatError.
    """
    for magic, suffix in _HAS_COLUMNS.items():
        if head.startswith(magic):
            return suffix
    compression = next((suffix for magic, suffix in _COMPRESSED.items() if head.startswith(magic)), "")
    text = _decompressed(head, compression)
    if text.startswith(tuple(_HAS_COLUMNS)):
        raise UnknownFormatError("is a compressed Parquet or Avro file. Write it without compression around it.")
    named = _suffix_of_name(name)
    first = text.lstrip(_BLANK)[:1]
    if named is None:
        if first not in (b"{", b"["):
            raise UnknownFormatError("is neither JSON nor Parquet nor Avro, and its name does not end in .csv.")
        named = ".json"
    if b"\0" in text[:1024]:
        raise UnknownFormatError("is not text, and neither Parquet nor Avro.")
    if named == ".csv" or first != b"[":
        return named + compression
    return ".json" + compression  # an array, which is read from files of this name alone


def _suffix_of_name(name: str) -> str | None:
    lower = name.lower()
    for compressed in (".gz", ".zst", ".zstd", ".gzip"):
        lower = lower.removesuffix(compressed)
    return next((suffix for suffix in _TEXT_SUFFIXES if lower.endswith(suffix)), None)


def _decompressed(head: bytes, compression: str) -> bytes:
    """The beginning of the text. Raises UnknownFormatError for broken data."""
    if not compression:
        return head
    try:
        if compression == ".gz":
            return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
        with pa.CompressedInputStream(pa.BufferReader(head), "zstd") as stream:
            return io.BytesIO(stream.read(1024)).getvalue()
    except (zlib.error, OSError, ValueError, pa.ArrowException):
        raise UnknownFormatError(f"begins like a {compression} file, and cannot be decompressed.") from None
