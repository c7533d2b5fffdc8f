"""Reads a JSON array of objects as lines: one element each, numbered by its place in the array."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import IO, Protocol

from pipeline.core.errors import InputFileError
from pipeline.landing.input_files import InputFile

_BLOCK_BYTES = 1 << 20
_MAX_ELEMENT_BYTES = 8 << 20
"""Of an element, more are not held in memory to look for its end."""
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|["{}\[\],]', re.DOTALL)
"""A string, a quote that is not closed so far, or a bracket or comma outside of strings."""


_START_BYTES = 1024
_BLANKS = b" \t\r\n"


class Readable(Protocol):
    """What blocks of text are read from."""

    def read(self, size: int, /) -> bytes: ...


class _Elements:
    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def read(self, _: int, /) -> bytes:
        return next(self._blocks, b"")


def without_array(file: InputFile, stream: IO[bytes]) -> Readable:
    """The stream; or, if a file named .json begins with a bracket, the elements of its array as lines.

    In a file of JSON lines, .jsonl by its name, a line that is an array is only a bad row.
    """
    start = stream.read(_START_BYTES)
    stream.seek(0)
    is_json = ".json" in [suffix.lower() for suffix in file.path.suffixes[-2:]]
    if is_json and start.removeprefix(codecs.BOM_UTF8).lstrip(_BLANKS).startswith(b"["):
        return _Elements(_elements_as_lines(file, stream))
    return stream


def _elements_as_lines(file: InputFile, stream: IO[bytes]) -> Iterator[bytes]:
    """Lines in blocks, one for each element.

    Raises InputFileError where an element does not end, or something follows the array: which rows there are would be a guess. An
    element that ends, and is longer than a row may be, is rejected as a row.
    """
    rest, elements, is_over = stream.read(_START_BYTES).removeprefix(codecs.BOM_UTF8).lstrip(_BLANKS)[1:], 0, False
    while True:
        chunk = stream.read(_BLOCK_BYTES)
        rest += chunk
        lines, rest, is_over = _split(rest, is_over)
        elements += len(lines)
        if lines:
            yield b"".join(line + b"\n" for line in lines)
        if is_over:
            if rest.strip(_BLANKS):
                raise _broken(file, "something follows the array")
            rest = b""
        if not is_over and len(rest) > _MAX_ELEMENT_BYTES:
            raise _broken(file, f"element {elements + 1} does not end within {_MAX_ELEMENT_BYTES:,} bytes")
        if not chunk:
            if not is_over:
                raise _broken(file, f"it ends in element {elements + 1}")
            return


def _split(text: bytes, is_over: bool) -> tuple[list[bytes], bytes, bool]:
    """The elements that end in a text, the text after them, and whether the array has ended."""
    lines: list[bytes] = []
    start = depth = 0
    if is_over:
        return lines, text, True
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark == b'"':
            break
        if mark in (b"{", b"["):
            depth += 1
        elif depth and mark in (b"}", b"]"):
            depth -= 1
        elif not depth and mark in (b",", b"]"):
            element = text[start : token.start()].strip(_BLANKS).replace(b"\n", b" ")
            start = token.end()
            if element or mark == b",":
                lines.append(element or b"null")
            if mark == b"]":
                return lines, text[start:], True
    return lines, text[start:], False


def _broken(file: InputFile, why: str) -> InputFileError:
    return InputFileError(
        file.path, f"is not a whole JSON array: {why}; none of its rows landed.", "Copy it again from where it comes from."
    )
