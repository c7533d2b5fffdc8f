"""Values of Avro as values of JSON: how each logical type of Avro is read, exactly and one value at a time.

A value that has no meaning in its type, such as a year after 9999, becomes a text that the checks of its field reject, so that it
is that row's error and not the file's.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
from fastavro.read import LOGICAL_READERS

from pipeline.core.input_limits import MAX_NUMBER_DIGITS

_DAYS_OF_400_YEARS = 146_097
_1970 = date(1970, 1, 1).toordinal()
_SECONDS_OF_A_DAY = 86_400
_MAX_DECIMAL_BYTES = MAX_NUMBER_DIGITS * 5 // 12
"""Two digits more than a byte has would be a longer number than Python writes."""


def _day(days: int) -> str:
    """The date of a day since 1970, of any year. A year of five digits, or before 0, is no date to what reads it."""
    cycles, rest = divmod(days, _DAYS_OF_400_YEARS)
    day = date.fromordinal(_1970 + rest)
    year = day.year + 400 * cycles
    return f"{'-' if year < 0 else ''}{abs(year):04}-{day.month:02}-{day.day:02}"


def _time(value: int, digits: int) -> str:
    seconds, fraction = divmod(value, 10**digits)
    shown = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{shown}.{fraction:0{digits}}" if fraction else shown


def _instant(value: int, digits: int, zone: str) -> str:
    """An instant in ISO 8601. `value`: since 1970, in units of 10^-digits seconds."""
    days, of_day = divmod(value, _SECONDS_OF_A_DAY * 10**digits)
    return f"{_day(days)}T{_time(of_day, digits)}{zone}"


def _text(value: bytes) -> Any:
    """Bytes as text. What is not UTF-8 becomes an object, which is neither an id nor a number nor an instant."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"not_utf_8": value.hex()}


def _decimal(value: bytes, scale: int) -> Any:
    if not 0 < len(value) <= _MAX_DECIMAL_BYTES:
        return {"decimal_of_bytes": len(value)}
    return Decimal(f"{int.from_bytes(value, 'big', signed=True)}E-{scale}")


def _uuid(value: bytes) -> Any:
    return str(uuid.UUID(bytes=value)) if len(value) == 16 else _text(value)


def _duration(value: bytes) -> Any:
    if len(value) != 12:
        return _text(value)
    names = ("months", "days", "milliseconds")
    return {name: int.from_bytes(value[place : place + 4], "little") for name, place in zip(names, (0, 4, 8), strict=True)}


@dataclass(frozen=True)
class TypeReader:
    """How the values of a logical type are read, or those of a type that has none."""

    of_type: str
    name: str
    """Its name in Avro."""
    read: Callable[[Any, dict[str, Any]], Any]
    """A function of the value and its schema."""

    @property
    def registered_name(self) -> str:
        return f"billhouse-{self.name}"


def _instants(name: str, digits: int) -> list[TypeReader]:
    return [
        TypeReader("long", f"timestamp-{name}", lambda value, _: _instant(value, digits, "Z")),
        TypeReader("long", f"local-timestamp-{name}", lambda value, _: _instant(value, digits, "")),
    ]


LOGICAL_TYPES = [
    *_instants("millis", 3),
    *_instants("micros", 6),
    *_instants("nanos", 9),
    TypeReader("int", "date", lambda value, _: _day(value)),
    TypeReader("int", "time-millis", lambda value, _: _time(value, 3)),
    TypeReader("long", "time-micros", lambda value, _: _time(value, 6)),
    TypeReader("bytes", "decimal", lambda value, schema: _decimal(value, schema["scale"])),
    TypeReader("fixed", "decimal", lambda value, schema: _decimal(value, schema["scale"])),
    TypeReader("fixed", "uuid", lambda value, _: _uuid(value)),
    TypeReader("fixed", "duration", lambda value, _: _duration(value)),
]
PLAIN_TYPES = [
    TypeReader("bytes", "bytes", lambda value, _: _text(value)),
    TypeReader("fixed", "bytes", lambda value, _: _text(value)),
    # The shortest number that is written as this float of 32 bits.
    TypeReader("float", "float", lambda value, _: float(str(np.float32(value)))),
]


def _register(reader: TypeReader) -> None:
    def read(value: Any, writer_schema: dict[str, Any] | None = None, _reader_schema: Any = None) -> Any:
        return reader.read(value, writer_schema or {})

    LOGICAL_READERS[f"{reader.of_type}-{reader.registered_name}"] = read


for _reader in (*LOGICAL_TYPES, *PLAIN_TYPES):
    _register(_reader)
