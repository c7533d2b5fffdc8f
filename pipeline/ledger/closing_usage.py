"""The item of the closing checklist about days of the month without events: usage that has not landed yet looks like none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import duckdb

from pipeline.core.periods import BillingPeriod
from pipeline.ledger.checklist_item import ChecklistItem, CheckState, item, shown_minute

_SHOWN = 10
# Reports have no row per event. A stop that was inferred is no event; a quantity that is no time comes from events of its day.
_INSTANTS = """
    select started_at as event_at from sessions where not is_start_missing
    union all
    select ended_at from sessions where end_reason = 'stopped'
    union all
    select event_at from ignored_events
    union all
    select unnest([first_at, last_at]) from landed_files where kind = 'usage'"""
_DAYS = f"""
    select cast(event_at as date) as day from ({_INSTANTS}) where event_at >= $start and event_at < $end
    union
    select usage_date from usage_daily where period = $period and quantity > 0 and unit not like '%-second'"""


def usage_item(reports: duckdb.DuckDBPyConnection, period: BillingPeriod) -> ChecklistItem:
    """The last event of the month, and its days without any; of a connection in UTC whose default schema is `billing`.

    It needs attention where one or more whole days up to the month's end have no event: a file may not have landed.
    """
    instants = {"start": period.start, "end": period.end}
    (last,) = reports.execute(
        f"select max(event_at) from ({_INSTANTS}) where event_at >= $start and event_at < $end", instants
    ).fetchall()[0]
    with_events = {day for (day,) in reports.execute(_DAYS, {"period": str(period), **instants}).fetchall()}
    if not with_events:
        detail = "No event of the month has landed."
        return item("usage", "Usage", CheckState.ATTENTION, detail, "If there was usage, land it: billhouse land FILE...")
    first = period.start.date()
    days = [first + timedelta(days=number) for number in range((period.end - period.start).days)]
    last_day = max(with_events)
    missing = [day for day in days if day not in with_events]
    at_the_end = sum(day > last_day for day in days)
    detail = f"Last event: {_shown_last(last, last_day)}."
    if at_the_end:
        detail += f" {at_the_end} day{'s' * (at_the_end > 1)} to the month's end {'have' if at_the_end > 1 else 'has'} none."
    if earlier := [day for day in missing if day < last_day]:
        detail += f" Days before it on which no session starts or stops: {_shown_days(earlier)}."
    if not missing:
        detail += " Every day has events."
    next_step = "If there was usage, land it: billhouse land FILE..."
    examples = [{"day_without_events": str(day)} for day in missing[-_SHOWN:]]
    state = CheckState.ATTENTION if at_the_end else CheckState.OK
    return item("usage", "Usage", state, detail, next_step, *examples)


def _shown_last(last: datetime | None, last_day: date) -> str:
    """The last instant; the day alone where only a quantity of that day is known."""
    if last is None or last.astimezone(UTC).date() < last_day:
        return f"{last_day} UTC"
    return shown_minute(last)


def _shown_days(days: Sequence[date]) -> str:
    """'2026-09-03, 2026-09-05 to 2026-09-07'; of many, the first ten ranges."""
    ranges: list[tuple[date, date]] = []
    for day in days:
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in ranges[:_SHOWN]]
    return ", ".join(texts) + (", ..." if len(ranges) > _SHOWN else "")
