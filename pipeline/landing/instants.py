"""SQL that parses an instant, and explains why a text is not one. Billing rules, section 3.

Accepts all notations of ISO 8601 and RFC 3339: extended or basic, calendar, week or ordinal date, with seconds, minutes or hours
as the last part and a decimal fraction of it, an offset as +02, +0200 or +02:00, lower case, a leap second. Without an offset the
instant is in UTC. A date alone is not an instant. A number is one only if its unit is given.
"""

from __future__ import annotations

from pipeline.core.sql import quoted
from pipeline.landing.record_kinds import TimestampUnit

EARLIEST = "timestamptz '1970-01-01 00:00:00+00'"
END = "timestamptz '9999-01-01 00:00:00+00'"
"""The first instant that is rejected: all models and libraries handle earlier years."""


_TO_MICROSECONDS = {
    TimestampUnit.SECONDS: "* 1000000",
    TimestampUnit.MILLISECONDS: "* 1000",
    TimestampUnit.MICROSECONDS: "",
    TimestampUnit.NANOSECONDS: "* 0.001",
}
"""Decimal arithmetic, without floats."""
_USUAL = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?"
"""The notation of nearly all files, which DuckDB parses itself."""
_ZONE = r"(\.\d+)?(Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?"
_EXTENDED = rf"(\d{{4}})-(?:(\d{{2}})-(\d{{2}})|W(\d{{2}})-([1-7])|(\d{{3}}))[T ](\d{{2}})(?::(\d{{2}})(?::(\d{{2}}))?)?{_ZONE}"
_BASIC = rf"(\d{{4}})(?:(\d{{2}})(\d{{2}})|W(\d{{2}})([1-7])|(\d{{3}}))[T ](\d{{2}})(?:(\d{{2}})(\d{{2}})?)?{_ZONE}"
_PARTS = "['year', 'month', 'day', 'week', 'weekday', 'ordinal', 'hour', 'minute', 'second', 'fraction', 'zone']"
_NUMBER = r"[-+]?\d{1,19}(\.\d*)?"
_DATE_ALONE = r"\d{4}-?(\d{2}-?\d{2}|W\d{2}-?\d|\d{3})"
_LATER_YEAR = r"[+]?\d{5,}-\d{2}-\d{2}.*"
_EARLIER_YEAR = r"-\d{4,}-\d{2}.*"
_ANY_NUMBER = r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?"
_NAMED_ZONE = r"\d{4}-?\d{2}-?\d{2}.*\d{2} ?[A-Za-z_/]{2,}"

MACROS = f"""
create or replace temp macro usual_instant(value) as
    case when regexp_full_match(value, {quoted(_USUAL)}) then try_cast(value as timestamptz) end;

create or replace temp macro in_common_notation(value) as
    -- ISO 8601 allows a comma and the minus sign U+2212, RFC 3339 lower case.
    replace(replace(upper(value), ',', '.'), chr(8722), '-');

create or replace temp macro instant_parts(value) as
    case
        when regexp_full_match(value, {quoted(_EXTENDED)}) then regexp_extract(value, {quoted(f"^{_EXTENDED}$")}, {_PARTS})
        when regexp_full_match(value, {quoted(_BASIC)}) then regexp_extract(value, {quoted(f"^{_BASIC}$")}, {_PARTS})
    end;

create or replace temp macro iso_day(parts) as
    -- Days since 1970-01-01; null if the day does not exist.
    case
        when parts.month <> '' then try_cast(concat_ws('-', parts.year, parts.month, parts.day) as date)
        when parts.week <> '' then list_filter(
            [
                make_date(parts.year::integer, 1, 4) - (isodow(make_date(parts.year::integer, 1, 4))::integer - 1)
                + (parts.week::integer - 1) * 7 + (parts.weekday::integer - 1)
            ],
            lambda day: isoyear(day) = parts.year::integer and parts.week::integer > 0
        )[1]
        else list_filter(
            [make_date(parts.year::integer, 1, 1) + (parts.ordinal::integer - 1)],
            lambda day: year(day) = parts.year::integer and parts.ordinal::integer > 0
        )[1]
    end - date '1970-01-01';

create or replace temp macro part_number(part) as coalesce(try_cast(nullif(part, '') as bigint), 0);

create or replace temp macro offset_seconds(zone) as
    case
        when zone in ('', 'Z') then 0
        else (case when starts_with(zone, '-') then -1 else 1 end)
            * (zone[2:3]::bigint * 3600 + part_number(right(replace(zone[4:], ':', ''), 2)) * 60)
    end;

create or replace temp macro fraction_microseconds(parts) as
    case
        when parts.fraction = '' then 0
        else trunc(
            cast('0' || left(parts.fraction, 13) as decimal(38, 12))
            * cast(case when parts.second <> '' then 1000000 when parts.minute <> '' then 60000000 else 3600000000 end as bigint)
        )::bigint
    end;

create or replace temp macro instant_of(parts, seconds) as
    case
        when part_number(parts.minute) <= 59
            and (
                part_number(parts.hour) <= 23 and part_number(parts.second) <= 59
                or seconds = 86400 and parts.hour = '24' and fraction_microseconds(parts) = 0
                -- A leap second must be the last second of a UTC day; it is read as the next second.
                or part_number(parts.hour) <= 23 and parts.second = '60' and (seconds - offset_seconds(parts.zone)) % 86400 = 0
            )
            then make_timestamptz(
                (iso_day(parts) * 86400 + seconds - offset_seconds(parts.zone)) * 1000000 + fraction_microseconds(parts)
            )
    end;

create or replace temp macro unusual_instant(value) as
    list_transform(
        [instant_parts(in_common_notation(value))],
        lambda parts: case
            when parts is not null then instant_of(
                parts, part_number(parts.hour) * 3600 + part_number(parts.minute) * 60 + part_number(parts.second)
            )
        end
    )[1];
"""
"""The macros that `instant_sql` and `instant_help` call. Execute once per connection."""


def instant_sql(text: str, unit: TimestampUnit | None) -> str:
    """SQL for the instant in a text; null if it is not one. Truncated to microseconds."""
    read = f"coalesce(usual_instant({text}), unusual_instant({text}))"
    if unit is None:
        return read
    scale = _TO_MICROSECONDS[unit]
    microseconds = f"try_cast(floor(cast({text} as decimal(38, 9)) {scale}) as bigint)"
    return f"case when regexp_full_match({text}, {quoted(_NUMBER)}) then try(make_timestamptz({microseconds})) else {read} end"


def instant_help(text: str, value: str, unit: TimestampUnit | None) -> str:
    """SQL for the reason why a text is not a valid instant, and what to write."""
    known = "write an instant from 1970-01-01T00:00:00Z to 9998-12-31T23:59:59Z."
    example = "for example 2026-11-01T00:00:00Z"
    units = "|".join(TimestampUnit)
    number = (
        f"a number without a unit. Write an instant in ISO 8601, {example}, or land the file with --timestamps {units}."
        if unit is None
        else f"no whole or decimal number of {unit} since 1970."
    )
    plain = f"in_common_notation({text})"
    return f"""case
        when {value} < {EARLIEST} or regexp_full_match({text}, {quoted(_EARLIER_YEAR)})
            then {quoted(f"before 1970: {known}")}
        when {value} >= {END} or regexp_full_match({text}, {quoted(_LATER_YEAR)}) then {quoted(f"after the year 9998: {known}")}
        when regexp_full_match({text}, '\\d{{8}}') or regexp_full_match({plain}, {quoted(_DATE_ALONE)})
            then {quoted(f"a date without a time. Write the instant, {example}.")}
        when regexp_full_match({text}, {quoted(_ANY_NUMBER)}) then {quoted(number)}
        when instant_parts({plain}) is not null and ({plain} like '%60%' and instant_parts({plain}).second = '60')
            then 'a leap second that is not the last second of a day in UTC. Write the second before or after it.'
        when instant_parts({plain}) is not null
            then 'a date or time that does not exist. Check month, day, hour, minute and second.'
        when regexp_full_match({text}, {quoted(_NAMED_ZONE)})
            then 'not in UTC or with an offset in digits. Write Z or an offset such as +02:00 instead of a zone by name.'
        else {quoted(f"not an instant in ISO 8601. Write one, {example}.")}
    end"""
