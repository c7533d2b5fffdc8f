"""SQL that reads a field's text as its type, and says what is wrong with it. Each rule once, for every kind of record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pipeline.core.input_limits import MAX_NESTING_LEVELS, MAX_NUMBER_DIGITS, MAX_ROW_BYTES
from pipeline.core.sql import quoted
from pipeline.landing.instants import EARLIEST, END, instant_help, instant_sql
from pipeline.landing.json_bounds import JsonBound
from pipeline.landing.record_kinds import TimestampUnit
from pipeline.landing.specification import (
    AMOUNT_BOUND,
    BYTES_BOUND,
    CLEARED_FIELDS,
    DECIMALS,
    ID_LENGTH,
    QUANTITY_BOUND,
    RESOURCE_BOUND,
    Field,
    Specification,
    Type,
)

_NO_PLAIN_IDS = "'true', 'false', 'nan', 'inf', 'infinity'"
"""Texts that may have been written without quotes, and are looked at again."""
_PLAIN_ID = "[0-9]+|[A-Za-z0-9_:@/-]*[A-DF-Za-df-z_:@/][A-Za-z0-9_:@/-]*"
"""What nearly all ids are, and what no other JSON value than text or a whole number reads as, but for true and false."""
_BLANK = r"[\s\p{Z}\p{Cf}]*"
_UNSAFE = r"[\x00-\x1F\x7F-\x9F\x{2028}\x{2029}\x{061C}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2066}-\x{2069}]"
"""Control characters, line breaks, and what changes the direction of text: such ids look like others, or break a report."""
_PLAIN = rf"[0-9]{{1,10}}(\.[0-9]{{1,{DECIMALS}}})?"
_NOT_ZERO = "^[^eE]*[1-9]"
_DECIMALS_WRITTEN = r"\.(\d*?)0*([eE]|\s*$)"
_EXPONENT = r"[eE]([-+]?\d+)"
_CLOCK_TOLERANCE = timedelta(hours=24)
_BOUNDS = {Type.RESOURCE: RESOURCE_BOUND, Type.QUANTITY: QUANTITY_BOUND, Type.AMOUNT: AMOUNT_BOUND}
_READINGS = {Type.PERCENT: 100, Type.BYTES: BYTES_BOUND}
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
"""The order in which a row's faults are looked for: the first found is its reason."""


@dataclass(frozen=True)
class Rows:
    """A query for a file's rows: (file_row, over_limit, unreadable, <a column a field>); of merged records `cleared_fields` too.

    `over_limit` says which bound a row breaks, `unreadable` why it cannot be read; null: it does not, or it can.
    """

    query: str
    typed: frozenset[str] = frozenset()
    """The fields whose column is not text, but of the field's own type."""
    can_be_read_again: bool = False
    """Whether the query may run more than once, and outside of the block that gave it."""
    carried: tuple[str, ...] = ()
    """More columns of the query, which `misfits` reads."""
    misfits: Mapping[str, str] = field(default_factory=dict)
    """By id field, SQL for whether a value that is not plainly an id was neither text nor a whole number."""


@dataclass(frozen=True)
class Reading:
    """What a landing is given beside the file."""

    landed_at: datetime
    timestamps: TimestampUnit | None = None
    """What a number means where an instant is expected; None: nothing, it is refused."""


def checked_query(specification: Specification, rows: Rows, reading: Reading) -> str:
    """The rows with their fields as typed columns, and `reason` and `detail` of what is wrong (null: nothing)."""
    fields = specification.fields
    read = ",\n".join(f"{_read(field, field.name in rows.typed, reading)} as {field.stored_as}" for field in fields)
    faults = [(reason, f"{reason} is not null", reason) for reason in ("over_limit", "unreadable")]
    faults += [fault for reason in _REASONS for field in fields for fault in _faults(field, reason, rows, reading)]
    faults += _one_of_faults(specification.one_of)
    faults += [(rule.reason, rule.condition, quoted(rule.detail)) for rule in specification.row_rules]
    found = " ".join(f"when {condition} then {number}" for number, (_, condition, _) in enumerate(faults))
    reasons = " ".join(f"when {number} then {quoted(reason)}" for number, (reason, _, _) in enumerate(faults))
    details = "\n".join(f"when fault = {number} then {detail}" for number, (_, _, detail) in enumerate(faults))
    cleared = f"{CLEARED_FIELDS}," if specification.is_merged else ""
    return f"""
        with came as ({rows.query}),
        typed as (
            select
                file_row,
                over_limit,
                unreadable,
                {cleared}
                {"".join(f"{column}, " for column in rows.carried)}
                {", ".join(f'"{field.name}" as "value of {field.name}"' for field in fields)},
                {read}
            from came
        ),
        judged as (select *, case {found} end as fault from typed)
        select
            file_row,
            {", ".join(_stored(field) for field in fields)},
            {cleared}
            case fault {reasons} end as reason,
            case when fault is null then null {details} end as detail
        from judged"""


def _text(field: Field) -> str:
    return f'cast("value of {field.name}" as varchar)'


def _stored(field: Field) -> str:
    if not field.late_is_never:
        return field.stored_as
    return f"case when {field.stored_as} >= {END} then null else {field.stored_as} end as {field.stored_as}"


def _read(field: Field, is_typed: bool, reading: Reading) -> str:
    came = f'"{field.name}"'
    if not is_typed:
        return _typed(field, reading)
    match field.type:
        case Type.INSTANT:
            return f"try_cast({came} as timestamptz)"
        case Type.INTEGER:
            return f"try_cast({came} as integer)"
        case _:
            return f"case when {_is_within_bounds(came, field)} then cast({came} as decimal(18, {DECIMALS})) end"


def _is_within_bounds(value: str, field: Field) -> str:
    return f"{value} {'>' if field.must_be_positive else '>='} 0 and {value} <= {_BOUNDS[field.type]}"


def _typed(field: Field, reading: Reading) -> str:
    text = f'"{field.name}"'
    if field.choices:
        told = " ".join(f"when {quoted(spelling)} then {quoted(stored)}" for spelling, stored in field.choices)
        value = f"case {text} {told} end"
    else:
        match field.type:
            case Type.INSTANT:
                value = instant_sql(text, reading.timestamps)
            case Type.ID if not field.is_required:
                # What begins with a visible ASCII character is not blank, which is soon seen.
                is_blank = f"(ascii({text}) <= 32 or ascii({text}) > 126) and regexp_full_match({text}, '{_BLANK}')"
                value = f"case when {is_blank} then null else {text} end"
            case Type.ID:
                value = text
            case Type.RESOURCE | Type.QUANTITY | Type.AMOUNT:
                exact, plain = f"try_cast({text} as decimal(38, 18))", f"try_cast({text} as decimal(18, {DECIMALS}))"
                # The cast to `exact` rounds what it cannot hold: -1e-30 to 0, and what differs in the 19th decimal.
                exponent = f"try_cast(coalesce(nullif(regexp_extract({text}, '{_EXPONENT}', 1), ''), '0') as integer)"
                decimals = f"strlen(regexp_extract({text}, '{_DECIMALS_WRITTEN}', 1)) - {exponent}"
                is_whole = f"(not regexp_matches({text}, '{_NOT_ZERO}') or {decimals} <= 18)"
                # Most numbers are plain, and need a look and a cast; the others take ten times as long.
                known = f"case when {_is_within_bounds(plain, field)} then {plain} end"
                value = (
                    f"case when {text} is null then null"
                    f" when regexp_full_match({text}, '{_PLAIN}') then {known}"
                    f" when {_is_within_bounds(exact, field)} and {exact} = round({exact}, {DECIMALS}) and {is_whole}"
                    f" and not contains({text}, '_') then cast({exact} as decimal(18, {DECIMALS})) end"
                )
            case Type.PERCENT | Type.BYTES:
                number = f"try_cast({text} as decimal(38, 18))"
                is_in_bounds = f"{number} between 0 and {_READINGS[field.type]} and not contains({text}, '_')"
                stored = f"round({number}, 6)::decimal(18, 6)" if field.type is Type.PERCENT else f"{number}::bigint"
                is_whole = "" if field.type is Type.PERCENT else f" and {number} = trunc({number})"
                value = f"case when {is_in_bounds}{is_whole} then {stored} end"
            case Type.INTEGER:
                value = f"case when regexp_full_match({text}, '-?\\d+') then try_cast({text} as integer) end"
            case Type.JSON:
                value = f"case when json_valid({text}) then cast(json({text}) as varchar) else {text} end"
            case Type.BOOLEAN:
                value = f"case lower({text}) when 'true' then true when 'false' then false end"
            case Type.TEXT:
                value = text
    if field.default is None:
        return value
    return f"case when {text} is null then {quoted(field.default)} else {value} end" + (
        "::integer" if field.type is Type.INTEGER else ""
    )


def _faults(field: Field, reason: str, rows: Rows, reading: Reading) -> Sequence[tuple[str, str, str]]:
    """(reason, condition, detail as SQL) for one field and one reason; none where it cannot have that fault."""
    text, value, name = _text(field), field.stored_as, field.name
    told = f"'{name} is ''' || left({text}, 200) || ''': '"
    unread = f"{text} is not null and {value} is null"
    match reason:
        case "over_limit" if field.type in (Type.TEXT, Type.JSON):
            return _size_faults(field)
        case "missing_field" if field.is_required:
            return [(reason, f"{text} is null", quoted(f"{name} is missing. Give every row one."))]
        case "bad_id" if field.type is Type.ID:
            return _id_faults(field, rows.misfits.get(field.name, "false"))
        case "bad_timestamp" if field.type is Type.INSTANT:
            bounds = f"{value} < {EARLIEST}" + ("" if field.late_is_never else f" or {value} >= {END}")
            return [(reason, f"({unread}) or {bounds}", f"{told} || {instant_help(text, value, reading.timestamps)}")]
        case "future_timestamp" if field.must_be_past:
            condition = f"{value} > timestamptz {quoted((reading.landed_at + _CLOCK_TOLERANCE).isoformat())}"
            help = "|| 'more than 24 hours after it landed. Check the clock of the collector.'"
            return [(reason, condition, told + help)]
        case "before_books_open" if field.not_before is not None:
            condition = f"{value} < timestamptz {quoted(field.not_before.isoformat())}"
            help = (
                f"before the books open with {field.not_before:%Y-%m} (the setting BILLHOUSE_FIRST_BILLING_MONTH)."
                " Check the clock of the collector; or set an earlier month, and land the row again."
            )
            return [(reason, condition, f"{told} || {quoted(help)}")]
        case "choice" if field.choices:
            known = ", ".join(dict.fromkeys(spelling for spelling, _ in field.choices))
            faults = [(field.choice_reason, unread, f"{told} || {quoted(_choice_help(field, known))}")]
            for choice, available_from in field.available_from:
                help = (
                    f"the price book has this plan from {available_from:%Y-%m-%dT%H:%M:%SZ} on. Correct effective_at,"
                    " or add an earlier row of the plan to seeds/plans.csv, and land the row again."
                )
                condition = f"{value} = {quoted(choice)} and effective_at < timestamptz {quoted(available_from.isoformat())}"
                faults.append((field.choice_reason, condition, f"{told} || {quoted(help)}"))
            return faults
        case "choice" if field.type is Type.BOOLEAN:
            return [(field.choice_reason, unread, f"{told} || 'write true or false.'")]
        case "bad_number" if field.type in _READINGS:
            unit = "percent of all its vCPUs together" if field.type is Type.PERCENT else "bytes, a whole number,"
            help = quoted(f"write {unit} from 0 to {_READINGS[field.type]:,}.")
            return [(reason, unread, f"{told} || {help}")]
        case "bad_number" if field.type is Type.INTEGER or field.type in _BOUNDS:
            bound = _BOUNDS.get(field.type)
            wanted = (
                "write a whole number."
                if bound is None
                else f"write a number {'above' if field.must_be_positive else 'from'} 0 up to {bound:,},"
                f" of at most {DECIMALS} decimals."
            )
            faults = [(reason, unread, f"{told} || {quoted(wanted)}")]
            if field.minor_unit_digits:
                rounded = " ".join(
                    f"when {quoted(code)} then round({value}, {digits})" for code, digits in field.minor_unit_digits
                )
                help = quoted("write an amount of whole minor units of its currency.")
                faults += [(reason, f"{value} <> case currency {rounded} end", f"{told} || {help}")]
            return faults
    return []


def _size_faults(field: Field) -> Sequence[tuple[str, str, str]]:
    """A value of text that is longer, or of JSON that is deeper or has longer numbers, than what comes after us can take."""
    text, name = _text(field), field.name
    shorter = "Shorten it, and land the row in a new file."
    faults = [
        ("over_limit", f"strlen({text}) > {MAX_ROW_BYTES}", quoted(f"{name} has more than {MAX_ROW_BYTES:,} bytes. {shorter}")),
    ]
    if field.type is Type.JSON:
        # Nearly all are short, or have few brackets, and break no bound. Of long ones SQL makes no copies to count in.
        opened = f"strlen({text}) - strlen(replace(replace({text}, '[', ''), '{{', ''))"
        may_be_deep = f"strlen({text}) > {2 * MAX_NESTING_LEVELS} and {opened} > {MAX_NESTING_LEVELS}"
        may_break_one = f"case when strlen({text}) > {MAX_NUMBER_DIGITS} then true else {may_be_deep} end"
        broken = f"case when {may_break_one} and json_valid({text}) then broken_json_bound({text}) end"
        deep = f"{name} is nested more than {MAX_NESTING_LEVELS} levels deep. Flatten it, and land the row in a new file."
        long = f"{name} has a number of more than {MAX_NUMBER_DIGITS:,} digits. Write it as text, and land the row in a new file."
        faults += [
            ("over_limit", f"{broken} = {quoted(JsonBound.DEEP)}", quoted(deep)),
            ("over_limit", f"{broken} = {quoted(JsonBound.DIGITS)}", quoted(long)),
        ]
    return faults


def _one_of_faults(names: Sequence[str]) -> Sequence[tuple[str, str, str]]:
    """Faults of a row that names none of several fields, or more than one of them."""
    if not names:
        return []
    count = " + ".join(f"({name} is not null)::integer" for name in names)
    listed = " or ".join(names)
    return [
        ("missing_field", f"{count} = 0", quoted(f"Neither {' nor '.join(names)} is there. Give every row {listed}.")),
        ("bad_value", f"{count} > 1", quoted(f"{' and '.join(names)} are both there. Write a row for each.")),
    ]


def _id_faults(field: Field, misfit: str) -> Sequence[tuple[str, str, str]]:
    """An id that is blank, too long, not visible as what it is, or neither text nor a whole number."""
    text, name = _text(field), field.name
    is_blank = f"regexp_full_match({text}, '{_BLANK}')"
    is_plain = (
        f"strlen({text}) <= {ID_LENGTH} and regexp_full_match({text}, '{_PLAIN_ID}') and lower({text}) not in ({_NO_PLAIN_IDS})"
    )
    is_wrong = f"length({text}) > {ID_LENGTH} or regexp_matches({text}, '{_UNSAFE}') or {misfit}"
    # A blank id counts as absent where the id is optional.
    condition = f"case when {text} is null or {is_plain} then false when {is_blank} then {field.is_required} else {is_wrong} end"
    shown = f"regexp_replace(left({text}, 200), '{_UNSAFE}', '\ufffd', 'g')"
    detail = f"""case
        when {is_blank} then {quoted(f"{name} is blank. Give every row one.")}
        when {misfit} then '{name} is ' || {shown} || ': write an id as text or as a whole number.'
        when length({text}) > {ID_LENGTH}
            then '{name} has ' || length({text}) || ' characters. Write at most {ID_LENGTH}. It begins: ' || left({shown}, 40)
        else '{name} is ''' || {shown} || ''', where \ufffd is a control character, a line break or a character that changes the'
            || ' direction of text. Write it without.'
    end"""
    return [("bad_id", condition, detail)]


def _choice_help(field: Field, known: str) -> str:
    book = {"unknown_plan": "plans.csv", "unknown_currency": "currencies.csv"}.get(field.choice_reason)
    if book:
        next_step = "Add it there and call billhouse land --again, or correct the row and land it in a new file."
        return f"not in seeds/{book} (there are: {known}). {next_step}"
    return f"write one of: {known}."
