"""The schema of an Avro file: checked, and rewritten so that its values are read exactly.

Logical types are replaced by our own (avro_values.py): those of the library fail for the whole file if one value is out of range,
and cut off nanoseconds. The bounds make sure that a few bytes of data cannot become many values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastavro import parse_schema

from pipeline.core.input_limits import MAX_NESTING_LEVELS, MAX_NUMBER_DIGITS
from pipeline.landing.avro_values import LOGICAL_TYPES, PLAIN_TYPES, TypeReader

_MAX_TYPES = 10_000
"""Types of a row, those of nested records included."""
_MAX_EMPTY_TYPES = 100
"""Types of a row whose values take no bytes, such as null."""
_MAX_NAME = 200
_MAX_FIXED_BYTES = 1 << 16
_LOGICAL = {(reader.of_type, reader.name): reader for reader in LOGICAL_TYPES}
_PLAIN = {reader.of_type: reader for reader in PLAIN_TYPES}


class AvroSchemaError(ValueError):
    """The schema cannot be read; the text says why and completes a sentence that begins with the file."""


@dataclass
class _Size:
    """What a type's values consist of."""

    types: int = 1
    empty_types: int = 0
    """Types whose values take no bytes."""
    can_be_empty: bool = False
    """Whether a value of it takes no bytes at all."""


@dataclass
class _Names:
    """The named types of a schema: those that are complete, and those that contain the current type."""

    sizes: dict[str, _Size] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)


def row_schema(text: bytes) -> dict[str, Any]:
    """The schema of the rows, ready for the library. Raises AvroSchemaError."""
    try:
        schema = parse_schema(_without_attributes(json.loads(text)))
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise AvroSchemaError("has rows that are not records.")
        rewritten, _ = _rewritten(schema, _Names(), 1)
        checked = parse_schema(rewritten)
        assert isinstance(checked, dict)
        return checked
    except AvroSchemaError:
        raise
    except Exception as error:  # the library has many, also of Python: KeyError, TypeError, RecursionError
        raise AvroSchemaError(f"has no valid schema ({type(error).__name__}: {str(error)[:200]}).") from error


def column_names(schema: Mapping[str, Any]) -> list[str]:
    """The names of the fields of a row."""
    return [str(column["name"]) for column in schema["fields"]]


_ATTRIBUTES = ("type", "name", "namespace", "fields", "symbols", "items", "values", "size", "logicalType", "scale")


def _without_attributes(schema: Any) -> Any:
    """The schema without what does not decide how values are read: defaults, texts, aliases, and hints of the library itself."""
    if isinstance(schema, list):
        return [_without_attributes(branch) for branch in schema]
    if isinstance(schema, dict):
        return {name: _without_attributes(value) for name, value in schema.items() if name in _ATTRIBUTES}
    return schema


def _rewritten(schema: Any, names: _Names, level: int) -> tuple[Any, _Size]:
    """The schema with our logical types, and its size."""
    if level > MAX_NESTING_LEVELS:
        raise AvroSchemaError(f"has a schema of more than {MAX_NESTING_LEVELS} levels.")
    if isinstance(schema, list):
        return _union(schema, names, level)
    type = schema["type"] if isinstance(schema, Mapping) else schema
    if not isinstance(type, str):  # {"type": {"type": "string"}}
        return _rewritten(type, names, level + 1)
    if type in names.open:
        raise AvroSchemaError(f"has a recursive schema: a {type} contains a {type}.")
    if type in names.sizes:
        return type, _checked(names.sizes[type])
    attributes = schema if isinstance(schema, Mapping) else {}
    name = _named(attributes) if type in ("record", "enum", "fixed") else ""
    if type == "record":
        return _record(attributes, name, names, level)
    if type in ("array", "map"):
        inside = "items" if type == "array" else "values"
        item, size = _rewritten(attributes[inside], names, level + 1)
        if size.empty_types:
            raise AvroSchemaError(f"has {'an array' if type == 'array' else 'a map'} of values without content (null).")
        return {"type": type, inside: item}, _checked(_Size(size.types + 1))
    if type == "null":
        return "null", _Size(empty_types=1, can_be_empty=True)
    rewritten = {"type": type}
    if type == "enum":
        rewritten |= {"name": name, "symbols": attributes["symbols"]}
    if type == "fixed":
        if not 0 < attributes["size"] <= _MAX_FIXED_BYTES:
            raise AvroSchemaError(f"has a fixed type of {attributes['size']} bytes.")
        rewritten |= {"name": name, "size": attributes["size"]}
    if name:
        names.sizes[name] = _Size()
    return rewritten | _logical(type, attributes), _Size()


def _logical(type: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of our own logical type for a type, if it needs one."""
    reader: TypeReader | None = _LOGICAL.get((type, str(attributes.get("logicalType")))) or _PLAIN.get(type)
    if reader is None:
        return {}
    scale = attributes.get("scale", 0)
    if reader.name == "decimal" and not (isinstance(scale, int) and 0 <= scale <= MAX_NUMBER_DIGITS):
        raise AvroSchemaError(f"has a decimal type of the scale {str(scale)[:20]}.")
    return {"logicalType": reader.registered_name, "scale": scale}


def _record(attributes: Mapping[str, Any], name: str, names: _Names, level: int) -> tuple[Any, _Size]:
    names.open.add(name)
    total, fields, known = _Size(can_be_empty=True), [], set[str]()
    for column in attributes["fields"]:
        if column["name"] in known or len(column["name"]) > _MAX_NAME:
            raise AvroSchemaError(f"has a field whose name is repeated or too long: {column['name'][:_MAX_NAME]}.")
        known.add(column["name"])
        rewritten, size = _rewritten(column["type"], names, level + 1)
        fields.append({"name": column["name"], "type": rewritten})
        total.types += size.types
        total.empty_types += size.empty_types
        total.can_be_empty &= size.can_be_empty
    total.empty_types += total.can_be_empty
    names.open.remove(name)
    names.sizes[name] = total
    return {"type": "record", "name": name, "fields": fields}, _checked(total)


def _union(branches: list[Any], names: _Names, level: int) -> tuple[Any, _Size]:
    rewritten, total = [], _Size()
    for branch in branches:
        schema, size = _rewritten(branch, names, level + 1)
        rewritten.append(schema)
        total.types += size.types
        # The number of the branch takes a byte, so that null has one here; a record of nulls may still have many.
        total.empty_types += size.empty_types if schema != "null" else 0
    return rewritten, _checked(total)


def _checked(size: _Size) -> _Size:
    if size.types > _MAX_TYPES or size.empty_types > _MAX_EMPTY_TYPES:
        raise AvroSchemaError(
            f"has a schema of more than {_MAX_TYPES:,} types, or more than {_MAX_EMPTY_TYPES} without content (null)."
        )
    return size


def _named(attributes: Mapping[str, Any]) -> str:
    return str(attributes["name"])
