"""The rows in a message's payload, as lines of JSON with every digit unchanged.

A JSON object is one row. The elements of a JSON array are rows, and so are the lines of a payload with several. Anything else is
passed on as it is, a line for each of its lines: landing quarantines it.
"""

from __future__ import annotations

import codecs
import json

_BLANKS = b" \t\r\n"
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
"""Finds where values end. Numbers stay text: Python converts none of thousands of digits."""


def rows_of(payload: bytes | None) -> list[bytes]:
    """The rows of a payload; none if it is missing or blank."""
    text = (payload or b"").removeprefix(codecs.BOM_UTF8).strip(_BLANKS)
    if not text:
        return []
    if text.startswith(b"["):
        return _elements(text) or _lines(text)
    if b"\n" in text and _is_json(text):
        return [_on_one_line(text)]
    return _lines(text)


def _elements(text: bytes) -> list[bytes]:
    """The elements of a JSON array as they are written; none if it is not one, or empty."""
    try:
        document = text.decode()
        found, place = [], _after_blanks(document, 1)
        while document[place] != "]":
            _, end = _DECODER.raw_decode(document, place)
            found.append(_on_one_line(document[place:end].encode()))
            place = _after_blanks(document, end)
            if document[place] == ",":
                place = _after_blanks(document, place + 1)
            elif document[place] != "]":
                return []
        return found if place == len(document) - 1 else []
    except (ValueError, IndexError, RecursionError):
        return []


def _after_blanks(document: str, place: int) -> int:
    while document[place] in " \t\r\n":
        place += 1
    return place


def _is_json(text: bytes) -> bool:
    try:
        _DECODER.decode(text.decode())
    except (ValueError, RecursionError):
        return False
    return True


def _on_one_line(text: bytes) -> bytes:
    """JSON on one line: a line end in valid JSON is always between two tokens."""
    return text.replace(b"\r", b" ").replace(b"\n", b" ")


def _lines(text: bytes) -> list[bytes]:
    return [line for line in text.split(b"\n") if line.strip(_BLANKS)]
