"""SQL that reads the text of a field as a value of its type."""

from __future__ import annotations

from pipeline.core.sql import quoted
from pipeline.landing.id_values import BLANK, id_list_sql
from pipeline.landing.instants import instant_sql
from pipeline.landing.record_kinds import TimestampUnit
from pipeline.landing.specification import (
    AMOUNT_BOUND,
    BYTES_BOUND,
    DECIMALS,
    EVENT_TYPES,
    QUANTITY_BOUND,
    RESOURCE_BOUND,
    Field,
    Type,
)

BOUNDS = {Type.RESOURCE: RESOURCE_BOUND, Type.QUANTITY: QUANTITY_BOUND, Type.AMOUNT: AMOUNT_BOUND}
"""The maximum of exact numbers."""
READINGS = {Type.PERCENT: 100, Type.BYTES: BYTES_BOUND, Type.SECONDS: QUANTITY_BOUND}
"""The maximum of instrument readings, which may be rounded."""
_PLAIN = rf"[0-9]{{1,10}}(\.[0-9]{{1,{DECIMALS}}})?"
_NOT_ZERO = "^[^eE]*[1-9]"
_DECIMALS_WRITTEN = r"\.(\d*?)0*([eE]|\s*$)"
_EXPONENT = r"[eE]([-+]?\d+)"


def value_sql(field: Field, is_typed: bool, unit: TimestampUnit | None) -> str:
    """SQL for a field's value: null if the text is empty or invalid. `is_typed`: the column has the field's type already.

    `unit`: what a number means where an instant is expected; None: it is invalid.
    """
    value = _value(field, is_typed, unit)
    return f"case when {is_read_sql(field)} then {value} end" if field.event_types else value


def is_read_sql(field: Field) -> str:
    """SQL: whether a field is read on a row, by the row's event type as written."""
    spellings = [spelling for stored in field.event_types for spelling in (stored, EVENT_TYPES[stored])]
    return f'"event_type" in ({", ".join(map(quoted, spellings))})' if spellings else "true"


def _value(field: Field, is_typed: bool, unit: TimestampUnit | None) -> str:
    column = f'"{field.name}"'
    if not is_typed:
        return _parsed(field, unit)
    match field.type:
        case Type.INSTANT:
            return f"try_cast({column} as timestamptz)"
        case Type.INTEGER:
            return f"try_cast({column} as integer)"
        case _:
            return f"case when {_is_within_bounds(column, field)} then cast({column} as decimal(18, {DECIMALS})) end"


def _is_within_bounds(value: str, field: Field) -> str:
    return f"{value} {'>' if field.must_be_positive else '>='} 0 and {value} <= {BOUNDS[field.type]}"


def _parsed(field: Field, unit: TimestampUnit | None) -> str:
    text = f'"{field.name}"'
    if field.choices:
        cases = " ".join(f"when {quoted(spelling)} then {quoted(stored)}" for spelling, stored in field.choices)
        value = f"case {text} {cases} end"
    else:
        match field.type:
            case Type.INSTANT:
                value = instant_sql(text, unit)
            case Type.ID if not field.is_required:
                # The test of the first character is fast, and decides nearly always.
                is_blank = f"(ascii({text}) <= 32 or ascii({text}) > 126) and regexp_full_match({text}, '{BLANK}')"
                value = f"case when {is_blank} then null else {text} end"
            case Type.ID:
                value = text
            case Type.RESOURCE | Type.QUANTITY | Type.AMOUNT:
                exact, plain = f"try_cast({text} as decimal(38, 18))", f"try_cast({text} as decimal(18, {DECIMALS}))"
                # The cast to `exact` is not exact: -1e-30 to 0, and numbers that differ from another in the 19th decimal.
                exponent = f"try_cast(coalesce(nullif(regexp_extract({text}, '{_EXPONENT}', 1), ''), '0') as integer)"
                decimals = f"strlen(regexp_extract({text}, '{_DECIMALS_WRITTEN}', 1)) - {exponent}"
                is_whole = f"(not regexp_matches({text}, '{_NOT_ZERO}') or {decimals} <= 18)"
                # Most numbers are plain; the others take ten times as long.
                known = f"case when {_is_within_bounds(plain, field)} then {plain} end"
                value = (
                    f"case when {text} is null then null"
                    f" when regexp_full_match({text}, '{_PLAIN}') then {known}"
                    f" when {_is_within_bounds(exact, field)} and {exact} = round({exact}, {DECIMALS}) and {is_whole}"
                    f" and not contains({text}, '_') then cast({exact} as decimal(18, {DECIMALS})) end"
                )
            case Type.PERCENT | Type.BYTES | Type.SECONDS:
                number = f"try_cast({text} as decimal(38, 18))"
                is_in_bounds = f"{number} between 0 and {READINGS[field.type]} and not contains({text}, '_')"
                stored = f"{number}::bigint" if field.type is Type.BYTES else f"round({number}, 6)::decimal(18, 6)"
                is_whole = f" and {number} = trunc({number})" if field.type is Type.BYTES else ""
                value = f"case when {is_in_bounds}{is_whole} then {stored} end"
            case Type.INTEGER:
                value = f"case when regexp_full_match({text}, '-?\\d+') then try_cast({text} as integer) end"
            case Type.JSON:
                value = f"case when json_valid({text}) then cast(json({text}) as varchar) else {text} end"
            case Type.ID_LIST:
                value = id_list_sql(text)
            case Type.BOOLEAN:
                value = f"case lower({text}) when 'true' then true when 'false' then false end"
            case Type.TEXT:
                value = text
    if field.default is None:
        return value
    return f"case when {text} is null then {quoted(field.default)} else {value} end" + (
        "::integer" if field.type is Type.INTEGER else ""
    )
