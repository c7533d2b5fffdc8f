"""SQL that checks the fields of rows: each rule once, for all kinds of records. Billing rules, section 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.core.input_limits import MAX_NESTING_LEVELS, MAX_NUMBER_DIGITS, MAX_ROW_BYTES
from pipeline.core.sql import quoted
from pipeline.landing.documents import WHOLE
from pipeline.landing.field_values import BOUNDS, READINGS, value_sql
from pipeline.landing.id_values import BLANK, UNSAFE
from pipeline.landing.instants import EARLIEST, END, instant_help
from pipeline.landing.json_bounds import JsonBound
from pipeline.landing.query_parts import RowsQuery
from pipeline.landing.record_kinds import TimestampUnit
from pipeline.landing.specification import CLEARED_FIELDS, DECIMALS, ID_LENGTH, Field, Specification, Type

_NO_PLAIN_IDS = "'true', 'false', 'nan', 'inf', 'infinity'"
"""Ids that may have been JSON literals without quotes; their JSON type is checked."""
_PLAIN_ID = "[0-9]+|[A-Za-z0-9_:@/-]*[A-DF-Za-df-z_:@/][A-Za-z0-9_:@/-]*"
"""Nearly all ids. Except for _NO_PLAIN_IDS, only JSON text and whole numbers match."""
_CLOCK_TOLERANCE = timedelta(hours=24)
_REASONS = (
    "over_limit",
    "missing_field",
    "bad_id",
    "bad_timestamp",
    "future_timestamp",
    "before_books_open",
    "choice",
    "bad_number",
)
"""The order in which errors are checked: the first one is the row's reason."""


@dataclass(frozen=True)
class LandingOptions:
    """Options of a landing."""

    landed_at: datetime
    timestamps: TimestampUnit | None = None
    """The unit of numbers where instants are expected; None: they are rejected."""
    rows_at: str = WHOLE
    """The JSON path of the rows in a document."""


def checked_query(specification: Specification, rows: RowsQuery, options: LandingOptions) -> str:
    """A query for the rows with typed columns, and the `reason` and `detail` of the first error (null for a valid row)."""
    fields = specification.fields
    values = ",\n".join(
        f"{value_sql(field, field.name in rows.typed, options.timestamps)} as {field.stored_as}" for field in fields
    )
    errors = [(reason, f"{reason} is not null", reason) for reason in ("over_limit", "unreadable")]
    errors += [error for reason in _REASONS for field in fields for error in _errors(field, reason, rows, options)]
    errors += _one_of_errors(specification.one_of)
    errors += [(rule.reason, rule.condition, quoted(rule.detail)) for rule in specification.row_rules]
    found = " ".join(f"when {condition} then {number}" for number, (_, condition, _) in enumerate(errors))
    reasons = " ".join(f"when {number} then {quoted(reason)}" for number, (reason, _, _) in enumerate(errors))
    details = "\n".join(f"when error = {number} then {detail}" for number, (_, _, detail) in enumerate(errors))
    cleared = f"{CLEARED_FIELDS}," if specification.is_merged else ""
    return f"""
        with received as ({rows.query}),
        typed as (
            select
                file_row,
                over_limit,
                unreadable,
                {cleared}
                {"".join(f"{column}, " for column in rows.carried)}
                {", ".join(f'"{field.name}" as "value of {field.name}"' for field in fields)},
                {values}
            from received
        ),
        with_error as (select *, case {found} end as error from typed)
        select
            file_row,
            {", ".join(_stored(field) for field in fields)},
            {cleared}
            case error {reasons} end as reason,
            case when error is null then null {details} end as detail
        from with_error"""


def _text(field: Field) -> str:
    return f'cast("value of {field.name}" as varchar)'


def _stored(field: Field) -> str:
    if not field.is_far_future_null:
        return field.stored_as
    return f"case when {field.stored_as} >= {END} then null else {field.stored_as} end as {field.stored_as}"


def _errors(field: Field, reason: str, rows: RowsQuery, options: LandingOptions) -> Sequence[tuple[str, str, str]]:
    """(reason, condition, detail as SQL) of the errors that a field can have with one reason."""
    text, value, name = _text(field), field.stored_as, field.name
    shown = f"'{name} is ''' || left({text}, 200) || ''': '"
    is_invalid = f"{text} is not null and {value} is null"
    if field.event_types:
        is_invalid += f" and event_type in ({', '.join(map(quoted, field.event_types))})"
    match reason:
        case "over_limit" if field.type in (Type.TEXT, Type.JSON, Type.ID_LIST):
            return _size_errors(field)
        case "missing_field" if field.is_required:
            return [(reason, f"{text} is null", quoted(f"{name} is missing. Give every row one."))]
        case "bad_id" if field.type is Type.ID:
            return _id_errors(field, rows.id_type_errors.get(field.name, "false"))
        case "bad_id" if field.type is Type.ID_LIST:
            help = f"write a JSON array of ids, each a text of at most {ID_LENGTH} characters or a whole number."
            return [(reason, is_invalid, f"regexp_replace({shown}, '{UNSAFE}', '\ufffd', 'g') || {quoted(help)}")]
        case "bad_timestamp" if field.type is Type.INSTANT:
            bounds = f"{value} < {EARLIEST}" + ("" if field.is_far_future_null else f" or {value} >= {END}")
            return [(reason, f"({is_invalid}) or {bounds}", f"{shown} || {instant_help(text, value, options.timestamps)}")]
        case "future_timestamp" if field.must_be_past:
            condition = f"{value} > timestamptz {quoted((options.landed_at + _CLOCK_TOLERANCE).isoformat())}"
            help = "|| 'more than 24 hours after it landed. Check the clock of the collector.'"
            return [(reason, condition, shown + help)]
        case "before_books_open" if field.not_before is not None:
            condition = f"{value} < timestamptz {quoted(field.not_before.isoformat())}"
            help = (
                f"before the books open with {field.not_before:%Y-%m} (the setting BILLHOUSE_FIRST_BILLING_MONTH)."
                " Check the clock of the collector; or set an earlier month, and land the row again."
            )
            return [(reason, condition, f"{shown} || {quoted(help)}")]
        case "choice" if field.choices:
            known = ", ".join(dict.fromkeys(spelling for spelling, _ in field.choices))
            errors = [(field.choice_reason, is_invalid, f"{shown} || {quoted(_choice_help(field, known))}")]
            for choice, available_from in field.available_from:
                help = (
                    f"the price book has this plan from {available_from:%Y-%m-%dT%H:%M:%SZ} on. Correct effective_at,"
                    " or add an earlier row of the plan to seeds/plans.csv, and land the row again."
                )
                condition = f"{value} = {quoted(choice)} and effective_at < timestamptz {quoted(available_from.isoformat())}"
                errors.append((field.choice_reason, condition, f"{shown} || {quoted(help)}"))
            return errors
        case "choice" if field.type is Type.BOOLEAN:
            return [(field.choice_reason, is_invalid, f"{shown} || 'write true or false.'")]
        case "bad_number" if field.type in READINGS:
            units = {
                Type.PERCENT: "percent of all its vCPUs together",
                Type.BYTES: "bytes, a whole number,",
                Type.SECONDS: "seconds",
            }
            help = quoted(f"write {units[field.type]} from 0 to {READINGS[field.type]:,}.")
            return [(reason, is_invalid, f"{shown} || {help}")]
        case "bad_number" if field.type is Type.INTEGER or field.type in BOUNDS:
            bound = BOUNDS.get(field.type)
            wanted = (
                "write a whole number."
                if bound is None
                else f"write a number {'above' if field.must_be_positive else 'from'} 0 up to {bound:,},"
                f" of at most {DECIMALS} decimals."
            )
            errors = [(reason, is_invalid, f"{shown} || {quoted(wanted)}")]
            if field.minor_unit_digits:
                rounded = " ".join(
                    f"when {quoted(code)} then round({value}, {digits})" for code, digits in field.minor_unit_digits
                )
                help = quoted("write an amount of whole minor units of its currency.")
                errors += [(reason, f"{value} <> case currency {rounded} end", f"{shown} || {help}")]
            return errors
    return []


def _size_errors(field: Field) -> Sequence[tuple[str, str, str]]:
    """Text that is too long, and JSON that is too deep or has too long numbers, for later steps and other programs."""
    text, name = _text(field), field.name
    shorter = "Shorten it, and land the row in a new file."
    errors = [
        ("over_limit", f"strlen({text}) > {MAX_ROW_BYTES}", quoted(f"{name} has more than {MAX_ROW_BYTES:,} bytes. {shorter}")),
    ]
    if field.type is Type.JSON:
        # Fast tests first: nearly all values are short, or have few brackets. For long ones SQL copies no text to count in.
        opened = f"strlen({text}) - strlen(replace(replace({text}, '[', ''), '{{', ''))"
        may_be_deep = f"strlen({text}) > {2 * MAX_NESTING_LEVELS} and {opened} > {MAX_NESTING_LEVELS}"
        may_break_one = f"case when strlen({text}) > {MAX_NUMBER_DIGITS} then true else {may_be_deep} end"
        broken = f"case when {may_break_one} and json_valid({text}) then broken_json_bound({text}) end"
        deep = f"{name} is nested more than {MAX_NESTING_LEVELS} levels deep. Flatten it, and land the row in a new file."
        long = f"{name} has a number of more than {MAX_NUMBER_DIGITS:,} digits. Write it as text, and land the row in a new file."
        errors += [
            ("over_limit", f"{broken} = {quoted(JsonBound.DEEP)}", quoted(deep)),
            ("over_limit", f"{broken} = {quoted(JsonBound.DIGITS)}", quoted(long)),
        ]
    return errors


def _one_of_errors(names: Sequence[str]) -> Sequence[tuple[str, str, str]]:
    """Errors of a row that has none of several fields, or more than one of them."""
    if not names:
        return []
    count = " + ".join(f"({name} is not null)::integer" for name in names)
    listed = " or ".join(names)
    return [
        ("missing_field", f"{count} = 0", quoted(f"Neither {' nor '.join(names)} is present. Give every row {listed}.")),
        ("bad_value", f"{count} > 1", quoted(f"{' and '.join(names)} are both present. Write a row for each.")),
    ]


def _id_errors(field: Field, id_type_error: str) -> Sequence[tuple[str, str, str]]:
    """An id that is blank, too long, has invisible or reordering characters, or is neither text nor a whole number."""
    text, name = _text(field), field.name
    is_blank = f"regexp_full_match({text}, '{BLANK}')"
    is_plain = (
        f"strlen({text}) <= {ID_LENGTH} and regexp_full_match({text}, '{_PLAIN_ID}') and lower({text}) not in ({_NO_PLAIN_IDS})"
    )
    is_wrong = f"length({text}) > {ID_LENGTH} or regexp_matches({text}, '{UNSAFE}') or {id_type_error}"
    # A blank id counts as missing if the id is optional.
    condition = f"case when {text} is null or {is_plain} then false when {is_blank} then {field.is_required} else {is_wrong} end"
    shown = f"regexp_replace(left({text}, 200), '{UNSAFE}', '\ufffd', 'g')"
    detail = f"""case
        when {is_blank} then {quoted(f"{name} is blank. Give every row one.")}
        when {id_type_error} then '{name} is ' || {shown} || ': write an id as text or as a whole number.'
        when length({text}) > {ID_LENGTH}
            then '{name} has ' || length({text}) || ' characters. Write at most {ID_LENGTH}. It begins: ' || left({shown}, 40)
        else '{name} is ''' || {shown} || ''', where \ufffd is a control character, a line break or a character that changes the'
            || ' direction of text. Remove it.'
    end"""
    return [("bad_id", condition, detail)]


def _choice_help(field: Field, known: str) -> str:
    book = {"unknown_plan": "plans.csv", "unknown_currency": "currencies.csv"}.get(field.choice_reason)
    if book:
        next_step = "Add it there and call billhouse land --again, or correct the row and land it in a new file."
        return f"not in seeds/{book} (known: {known}). {next_step}"
    return f"write one of: {known}."
