"""The rows of a body, each as its own text on one line: no number passes through a float.

A body is read strictly, as one JSON document or as JSON lines, in UTF-8. What is not JSON is refused as a whole. Line ends inside
an object are white space between its parts (in a text they are escaped), so replacing them by spaces changes nothing.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from pipeline.core.input_limits import MAX_ROW_BYTES
from pipeline.feeds.receive.refusal import RefusalError

_SPACE = re.compile(r"[ \t\n\r]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = 31
"""zlib's window bits for gzip with its header and checksum."""

_MOST_MEMBERS = 100
"""Of a gzip body: what follows a member is copied, so many small ones would take the square of their number."""
MOST_ROWS = 50_000
"""Of a body."""


class Form(StrEnum):
    """How a body holds its rows."""

    DOCUMENT = "document"
    """One object, or an array of them."""
    LINES = "lines"
    """One object on each line."""


_FORMS = {
    "application/json": Form.DOCUMENT,
    "application/cloudevents+json": Form.DOCUMENT,
    "application/cloudevents-batch+json": Form.DOCUMENT,
    "application/x-ndjson": Form.LINES,
    "application/ndjson": Form.LINES,
    "application/jsonl": Form.LINES,
    "application/x-jsonlines": Form.LINES,
}


@dataclass(frozen=True)
class Rows:
    """Rows as lines of JSON."""

    count: int
    lines: bytes
    """Each with its line end."""


def form_of(content_type: str) -> Form:
    """The form that a Content-Type names. Raises RefusalError 415 if it is another, or not UTF-8."""
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [value.strip('"') for name, _, value in (part.partition("=") for part in parameters) if name == "charset"]
    if media_type not in _FORMS:
        raise RefusalError(415, f"Content-Type must be one of: {', '.join(_FORMS)}.")
    if any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise RefusalError(415, "The body must be in UTF-8.")
    return _FORMS[media_type]


def check_encoding(content_encoding: str) -> bool:
    """Whether a Content-Encoding is gzip. Raises RefusalError 415 if it is neither gzip nor none."""
    name = content_encoding.strip().lower()
    if name not in ("", "identity", "gzip", "x-gzip"):
        raise RefusalError(415, "Content-Encoding must be gzip or none.")
    return name.endswith("gzip")


def decompressed(body: bytes, most_bytes: int) -> bytes:
    """A gzip body, decompressed. Raises RefusalError 413 as soon as it has more than `most_bytes`, 400 if it is not gzip."""
    parts: list[bytes] = []
    size, members, waiting = 0, 0, body
    try:
        while waiting:
            members += 1
            if members > _MOST_MEMBERS:
                raise RefusalError(400, f"The body has more than {_MOST_MEMBERS} gzip members.")
            member = zlib.decompressobj(_GZIP)
            while not member.eof:
                part = member.decompress(waiting, most_bytes + 1 - size)
                size += len(part)
                if size > most_bytes:
                    raise too_large(most_bytes, "once decompressed")
                parts.append(part)
                waiting = member.unconsumed_tail
                if not (part or waiting or member.eof):
                    raise RefusalError(400, "The body ends before its gzip data does.")
            waiting = member.unused_data
    except zlib.error:
        raise RefusalError(400, "The body is not valid gzip.") from None
    return b"".join(parts)


def too_large(most_bytes: int, when: str = "") -> RefusalError:
    """The refusal of a body with more than `most_bytes`."""
    return RefusalError(
        413, f"A body may have {most_bytes:,} bytes{' ' if when else ''}{when}. Send the rows in several requests."
    )


def rows_of(body: bytes, form: Form) -> Rows:
    """The rows of a body. Raises RefusalError 400 that names the line or row that is not a JSON object, 413 for one too large."""
    try:
        text = body.removeprefix(_BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise RefusalError(400, f"Line {line} is not UTF-8.") from None
    found = list(islice(_lines(text) if form is Form.LINES else _document(text), MOST_ROWS + 1))
    if len(found) > MOST_ROWS:
        raise RefusalError(413, f"A body may have {MOST_ROWS:,} rows. Send the rows in several requests.")
    if not found and form is Form.LINES:
        raise RefusalError(400, "The body has no rows.")
    return Rows(len(found), b"".join(found))


def check_json(body: bytes) -> None:
    """Raises RefusalError 400 if a body is not one JSON value in UTF-8."""
    try:
        text = body.decode()
        end = _DECODER.raw_decode(text, _after_space(text, 0))[1]
    except (ValueError, RecursionError):
        raise RefusalError(400, "The body is not valid JSON.") from None
    _check_end(text, end)


def _lines(text: str) -> Iterator[bytes]:
    for number, line in enumerate(text.split("\n"), start=1):
        row = line.strip(" \t\r")
        if row:
            place = _Place(first_line=number)
            end = _end_of_object(row, 0, place)
            if end != len(row):
                raise RefusalError(400, f"Line {number}: more than one JSON object.")
            yield _as_line(row, f"Line {number}")


def _document(text: str) -> Iterator[bytes]:
    at = _after_space(text, 0)
    if not text.startswith("[", at):
        end = _end_of_object(text, at, _Place())
        _check_end(text, end)
        yield _as_line(text[at:end], "The row")
        return
    at = _after_space(text, at + 1)
    number = 0
    while number or not text.startswith("]", at):
        number += 1
        end = _end_of_object(text, at, _Place(number))
        yield _as_line(text[at:end], f"Row {number}")
        at = _after_space(text, end)
        if text.startswith("]", at):
            break
        if not text.startswith(",", at):
            raise RefusalError(400, f"Line {_line(text, at)}: neither a comma nor the end of the array after row {number}.")
        at = _after_space(text, at + 1)
    _check_end(text, at + 1)


@dataclass(frozen=True)
class _Place:
    """Where a row is, for messages."""

    row: int = 0
    """In an array, from 1; 0: not in an array."""
    first_line: int = 1
    """The line in the body of the text that is read."""

    def line(self, line: int) -> str:
        row = f"Row {self.row}, line" if self.row else "Line"
        return f"{row} {line + self.first_line - 1}"


def _end_of_object(text: str, at: int, place: _Place) -> int:
    """The offset behind the JSON object that begins at `at`."""
    if not text.startswith("{", at):
        raise RefusalError(400, f"{place.line(_line(text, at))}: not a JSON object.")
    try:
        return _DECODER.raw_decode(text, at)[1]
    except json.JSONDecodeError as error:
        where = f"{place.line(error.lineno)}, column {error.colno}"
        raise RefusalError(400, f"{where}: not valid JSON ({error.msg}).") from None
    except _NotANumberError:
        raise RefusalError(400, f"{place.line(_line(text, at))}: NaN and Infinity are no JSON numbers.") from None
    except RecursionError:
        raise RefusalError(400, f"{place.line(_line(text, at))}: nested too deep.") from None


def _as_line(row: str, where: str) -> bytes:
    line = row.replace("\r", " ").replace("\n", " ").encode() + b"\n"
    if len(line) - 1 > MAX_ROW_BYTES:
        raise RefusalError(413, f"{where} has {len(line) - 1:,} bytes. A row may have {MAX_ROW_BYTES:,}.")
    return line


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None
    return found.end()


def _check_end(text: str, place: int) -> None:
    end = _after_space(text, place)
    if end != len(text):
        raise RefusalError(400, f"Line {_line(text, end)}: more after the body's JSON. Send JSON lines as application/x-ndjson.")


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


class _NotANumberError(ValueError):
    pass


def _refuse_constant(_: str) -> Any:
    raise _NotANumberError


_DECODER = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant)
"""Finds where an object ends. Its values are not used; a float reads a number of any length."""
