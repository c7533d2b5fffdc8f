"""The rows of a file of JSON lines, as a query with one column per field."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.core.sql import quoted
from pipeline.landing.exact_numbers import MAY_BE_TINY
from pipeline.landing.query_parts import (
    IN_A_NEW_FILE,
    NOT_UTF_8,
    STRIPPED_LINES,
    RowsQuery,
    first_filled,
    is_id_type_error,
    no_cleared_fields,
    quoted_name,
)
from pipeline.landing.specification import CLEARED_FIELDS, Specification, Type
from pipeline.landing.unread_columns import GROUP_SEPARATOR, KEY_SEPARATOR


def _cleared_by_null(specification: Specification) -> str:
    """SQL over a JSON row: the fields whose key is present and null, comma-separated; null if there are none."""
    is_null = "coalesce(json_type(row, {path}) = 'NULL', false)"
    names = [
        f"case when {' or '.join(is_null.format(path=quoted(f'$.{quoted_name(path)}')) for path in (field.name, *field.paths))}"
        f" then {quoted(field.name)} end"
        for field in specification.fields
    ]
    return f"case when json_valid(row) then nullif(concat_ws(',', {', '.join(names)}), '') end"


def jsonl_rows(specification: Specification, *, has_flat_keys: bool, shape_prefix: str = "") -> RowsQuery:
    """The query for the rows of JSON lines. Each document is parsed once for all keys, and each group inside it once.

    `has_flat_keys`: a key of the document itself may be named like a path, as in `resources.vcpu_count`. `shape_prefix`: SQL
    for what is put before the keys of a row that are passed to `note_keys`.
    """
    groups = sorted(specification.groups)
    paths = {path for field in specification.fields for path in (field.name, *field.paths)}
    keys = {path: "VARCHAR" for path in sorted(paths) if "." not in path or has_flat_keys} | dict.fromkeys(groups, "JSON")
    inside = {
        group: {path.removeprefix(f"{group}."): "VARCHAR" for path in sorted(paths) if path.startswith(f"{group}.")}
        for group in groups
    }
    objects = "".join(
        f", from_json(found.{quoted_name(group)}, {_shape(inside[group])}) as {quoted_name(group)}" for group in groups
    )
    columns, id_type_errors = [], {}
    for field in specification.fields:
        places, paths_of_places = [], []
        for path in (field.name, *field.paths):
            if path in keys:
                places.append(f"found.{quoted_name(path)}")
                paths_of_places.append(f"$.{quoted_name(path)}")
            if "." in path:
                places.append(".".join(map(quoted_name, path.split("."))))
                paths_of_places.append(f"$.{places[-1]}")
        value = first_filled(places, keep_empty=field.type is Type.ID)
        if field.type in (Type.RESOURCE, Type.QUANTITY, Type.AMOUNT):
            # A number too small for a float was read as 0.
            is_tiny = f"{value} in ('0.0', '-0.0') and regexp_matches(row, {quoted(MAY_BE_TINY)})"
            exact = first_filled([f"(numbers_in_quotes(row) ->> {quoted(path)})" for path in paths_of_places])
            value = f"case when {is_tiny} then {exact} else {value} end"
        columns.append(f"{value} as {quoted_name(field.name)}")
        if field.type is Type.ID:
            id_type_errors[field.name] = _json_id_type_error("json_row", [field.name, *field.paths])
    wrong = " ".join(
        f"when not coalesce(starts_with(found.{quoted_name(group)}, '{{'), true)"
        f" then {quoted(f'{group} is not a JSON object. Write it as one, or write its values as separate keys. {IN_A_NEW_FILE}')}"
        for group in groups
    )
    cleared = no_cleared_fields(specification)
    if specification.is_merged and not has_flat_keys:  # a null in Parquet does not clear a field
        cleared = f", {_cleared_by_null(specification)} as {CLEARED_FIELDS}"
    query = f"""
        with {STRIPPED_LINES},
        parsed as (
            select
                file_row,
                over_limit,
                row,
                -- Null if the line is not JSON.
                case
                    when ascii(row) = ascii('{{') or starts_with(ltrim(row, ' ' || chr(9)), '{{')
                        then try(from_json(row, {_shape(keys)}))
                end as found
            from stripped
        ),
        opened as (select file_row, over_limit, row, found{objects} from parsed)
        select
            file_row,
            over_limit,
            row as json_row,
            case
                when row is null then {quoted(NOT_UTF_8)}
                when found is null then {quoted(f"The line is not one JSON object. Write one on each line. {IN_A_NEW_FILE}")}
                {wrong}
                when {_noted_keys(groups, shape_prefix)}
                    then {quoted(f"A key occurs twice in one object. Write each key once. {IN_A_NEW_FILE}")}
            end as unreadable,
            {", ".join(columns)}
            {cleared}
        from opened"""
    return RowsQuery(query, carried=("json_row",), id_type_errors=id_type_errors)


def _noted_keys(groups: Sequence[str], shape_prefix: str) -> str:
    """SQL that passes a row's keys to UnreadColumns (those of a group after its name); true if a key occurs twice."""
    shape = shape_prefix + _keys_of("row")
    for group in groups:
        document = f"found.{quoted_name(group)}"
        inside = f"{quoted(GROUP_SEPARATOR + group + KEY_SEPARATOR)} || {_keys_of(document)}"
        shape += f" || case when starts_with({document}, '{{') then {inside} else '' end"
    return f"note_keys({shape}, file_row)"


def _keys_of(document: str) -> str:
    return f"array_to_string(json_keys({document}), {quoted(KEY_SEPARATOR)})"


def _json_id_type_error(document: str, keys: Sequence[str]) -> str:
    """SQL: whether the first of these keys that has a value has one that is neither text nor a whole number."""
    paths = [quoted('$."' + key + '"') for key in keys]
    chosen = " ".join(f"when coalesce({document} ->> {path}, '') <> '' then {is_id_type_error(document, path)}" for path in paths)
    return f"case {chosen} else false end"


def _shape(keys: dict[str, str]) -> str:
    """Keys and their types, in the form that `from_json` expects."""
    return quoted(json.dumps(keys))
