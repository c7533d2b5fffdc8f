"""The Parquet types that a field accepts, and conversion of types that DuckDB does not read exactly."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.landing.specification import Field, Type

_EXACT_DIGITS = 38
"""DuckDB reads a decimal with more digits as a float."""
_BATCH_ROWS = 65_536


def is_binary(type: pa.DataType) -> bool:
    """Whether the type is binary; its values may be UTF-8 text."""
    stored = _values(type)
    types = pa.types
    return bool(
        types.is_binary(stored)
        or types.is_large_binary(stored)
        or types.is_binary_view(stored)
        or types.is_fixed_size_binary(stored)
    ) and not _is_extension(type, "arrow.uuid")


def is_json(type: pa.DataType) -> bool:
    """Whether the type is Arrow's JSON extension type."""
    return _is_extension(type, "arrow.json")


def fits(field: Field, type: pa.DataType) -> bool:
    """Whether a column of this type can hold the field. Its values are checked row by row."""
    stored, types = _values(type), pa.types
    if types.is_null(stored) or field.type in (Type.JSON, Type.ID_LIST):
        return True
    if _is_extension(type, "arrow.bool8"):
        return False
    is_text = types.is_string(stored) or types.is_large_string(stored) or types.is_string_view(stored)
    if is_text or is_binary(type) or is_json(type) or _is_extension(type, "arrow.uuid") or types.is_integer(stored):
        return True
    if field.type in (Type.ID, Type.TEXT):
        return bool(types.is_decimal(stored)) and stored.scale == 0
    if types.is_floating(stored) or types.is_decimal(stored):
        return True
    return field.type is Type.INSTANT and bool(types.is_timestamp(stored) or types.is_date(stored))


def wanted_type(field: Field) -> str:
    """The accepted types of a field's column, for a message."""
    match field.type:
        case Type.ID:
            return "text or whole numbers"
        case Type.TEXT:
            return "text"
        case Type.INSTANT:
            return "instants (timestamp, or text in ISO 8601)"
    return "numbers or text"


def needs_conversion(type: pa.DataType) -> bool:
    """Whether DuckDB would change values: it reads 16-bit floats as 32-bit ones, and long decimals as floats."""
    if pa.types.is_struct(type):
        return any(needs_conversion(inner.type) for inner in type)
    return bool(pa.types.is_float16(type)) or (pa.types.is_decimal256(type) and type.precision > _EXACT_DIGITS)


def convert_columns(path: Path, target: Path) -> None:
    """Copy a Parquet file with such columns as text; a float becomes the shortest decimal that reads as the same float."""
    with pq.ParquetFile(path) as file:
        schema = pa.schema([pa.field(column.name, _converted_type(column.type)) for column in file.schema_arrow])
        with pq.ParquetWriter(target, schema, compression="zstd", compression_level=1) as writer:
            for batch in file.iter_batches(_BATCH_ROWS):
                arrays = [_converted(column) for column in batch.columns]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _converted_type(type: pa.DataType) -> pa.DataType:
    if not needs_conversion(type):
        return type
    if pa.types.is_struct(type):
        return pa.struct([pa.field(inner.name, _converted_type(inner.type)) for inner in type])
    return pa.string()


def _converted(array: pa.Array) -> pa.Array:
    if not needs_conversion(array.type):
        return array
    if pa.types.is_struct(array.type):
        inside = [_converted(array.field(place)) for place in range(array.type.num_fields)]
        return pa.StructArray.from_arrays(inside, fields=list(_converted_type(array.type)), mask=array.is_null())
    if pa.types.is_float16(array.type):
        return pa.array([None if value is None else str(value) for value in _halves(array)], pa.string())
    return array.cast(pa.string())


def _halves(array: pa.Array) -> list[object]:
    """As numpy 16-bit floats, whose text is the shortest."""
    values = array.fill_null(float("nan")).to_numpy(zero_copy_only=False).astype("float16")
    return [value if is_valid else None for value, is_valid in zip(values, array.is_valid().to_pylist(), strict=True)]


def _values(type: pa.DataType) -> pa.DataType:
    if isinstance(type, pa.DictionaryType):
        return type.value_type
    return type.storage_type if isinstance(type, pa.BaseExtensionType) else type


def _is_extension(type: pa.DataType, name: str) -> bool:
    return isinstance(type, pa.BaseExtensionType) and type.extension_name == name
