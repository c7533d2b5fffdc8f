"""The closing checklist of a month: everything that must be so before it is closed, each with its state and the next step.

It reads files and the analysts' copy of the reports, waits for no build and writes nothing, so that it can run at any time,
also during a build. Billing rules, section 7; docs/use/close-a-month.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.compute as pc

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.landing.quarantine_report import reasons_in_quarantine
from pipeline.ledger.checklist_item import ChecklistItem, CheckState, item, shown_minute
from pipeline.ledger.closing_reports import report_items
from pipeline.ledger.closing_sources import feeds_item, inbox_item
from pipeline.ledger.reason_words import QUARANTINE_REASONS, listed
from pipeline.ledger.verify import verify_ledger
from pipeline.pricebook.edits import edited_prices
from pipeline.pricebook.price_book import read_price_book
from pipeline.pricebook.reachability import contracts_in_another_currency
from pipeline.pricebook.stripe_currencies import check_currencies
from pipeline.pricebook.validation import check_price_book
from pipeline.store.alert_log import count_unsent
from pipeline.store.closes import closed_periods, read_close
from pipeline.store.publications import PUBLICATIONS
from pipeline.store.raw import RAW
from pipeline.warehouse.build_record import is_current, last_build
from pipeline.warehouse.project import project_of
from pipeline.warehouse.reports import open_reports

_OK, _ATTENTION, _BLOCKS = CheckState.OK, CheckState.ATTENTION, CheckState.BLOCKS


def closing_checklist(
    home: Home, period: BillingPeriod, *, now: datetime | None = None, project: Path | None = None, with_ledger: bool = True
) -> list[ChecklistItem]:
    """The items, in the order in which a person should settle them. The month can be closed where no item blocks.

    Of a month that is closed, only that and the state of the ledger. `with_ledger=False`: without reading all files of the
    ledger, for a page that is loaded often. Raises BillhouseError where the reports cannot be read.
    """
    now = now or datetime.now(UTC)
    project = project or project_of(home)
    closed = closed_periods(home)
    if period in closed:
        closed_at = read_close(home, period, "close")["closed_at"][0].as_py()
        detail = f"{period} is already closed, since {shown_minute(closed_at)}: nothing to do."
        return [item("order", "Earlier months", _OK, detail), *_ledger(home, with_ledger)]
    return [
        _grace_period(period, now),
        _order(home, period, closed),
        _last_build(home, period, now, project),
        _prices(home, project / "seeds"),
        inbox_item(home, period),
        feeds_item(home, period),
        _quarantine(home, period),
        _alerts(home),
        *_from_reports(home, period, closed),
        *_ledger(home, with_ledger),
    ]


def can_be_closed(items: Sequence[ChecklistItem]) -> bool:
    """Whether no item blocks."""
    return all(one.state is not CheckState.BLOCKS for one in items)


def _grace_period(period: BillingPeriod, now: datetime) -> ChecklistItem:
    settings = Settings.load()
    title, first = "Grace period", period.end + settings.close_grace
    if period.start < settings.books_open_at:
        detail = f"The books open with {settings.first_billing_month} (BILLHOUSE_FIRST_BILLING_MONTH)."
        return item("grace_period", title, _BLOCKS, detail, "Close that month or a later one.")
    if now < first:
        detail = f"It ends at {shown_minute(first)}: late events have until then."
        next_step = f"Wait until then. billhouse close {period} --force closes before" if now >= period.end else "Wait until then"
        return item("grace_period", title, _BLOCKS, detail, next_step)
    return item("grace_period", title, _OK, f"It ended at {shown_minute(first)}.")


def _order(home: Home, period: BillingPeriod, closed: Sequence[BillingPeriod]) -> ChecklistItem:
    title = "Earlier months"
    if closed and period < closed[-1]:
        next_step = f"Amounts due for {period} are adjustments on the next invoice."
        return item("order", title, _BLOCKS, f"{closed[-1]} is closed: {period} cannot be closed any more.", next_step)
    if not home.analysts_file.exists():
        return item("order", title, _ATTENTION, "Not known before a build.", "billhouse build")
    with _reports(home) as reports:
        found = reports.execute(
            "select distinct period from invoices where status = 'draft' and period < $period order by period",
            {"period": str(period)},
        ).fetchall()
    # The reports may be older than the last close.
    drafts = [earlier for (earlier,) in found if BillingPeriod.parse(earlier) not in closed]
    if drafts:
        return item("order", title, _BLOCKS, f"Not closed: {', '.join(drafts)}.", f"Close it first: billhouse close {drafts[0]}")
    return item("order", title, _OK, f"Closed through {closed[-1]}." if closed else "No earlier month has invoices.")


def _last_build(home: Home, period: BillingPeriod, now: datetime, project: Path) -> ChecklistItem:
    """A close builds first, as of the instant of the last build, unless that build is current."""
    title, record = "Last build", last_build(home)
    if record is None:
        return item("last_build", title, _ATTENTION, "Nothing was built yet.", "billhouse build")
    if not record.inputs and home.is_being_written():
        return item("last_build", title, _ATTENTION, "A build is running: the items below are of an earlier one.", "Wait for it")
    as_of = f"As of {shown_minute(record.as_of)}"
    if record.as_of < period.end:
        detail = f"{as_of}: the month was not over, and events after it are not seen."
        return item("last_build", title, _BLOCKS, detail, _build_after(period))
    problems = []
    if not record.inputs:
        problems.append("A later build did not finish, or one of its checks failed.")
    elif not is_current(home, record.as_of, project):
        problems.append("Rows, prices or settings changed since: the items below may be outdated.")
    grace_ends_at = period.end + Settings.load().close_grace
    is_early = record.as_of < grace_ends_at or _has_void_after(home, record.as_of, now)
    if record.as_of < grace_ends_at:
        problems.append(f"The grace period ends at {shown_minute(grace_ends_at)}; events after the build's instant are not seen.")
    elif is_early:
        problems.append("Voids of a later instant have landed, and are not seen.")
    if not problems:
        return item("last_build", title, _OK, f"{as_of}, all checks passed.")
    if is_early:
        problems.append("A close alone would build as of the same instant.")
    next_step = "billhouse build" if is_early else "A close does so itself; before it: billhouse build"
    return item("last_build", title, _ATTENTION, " ".join([f"{as_of}.", *problems]), next_step)


def _build_after(period: BillingPeriod) -> str:
    """The command that builds the whole month, at the end, so that it can be pasted."""
    return f"After the month's end (or a later instant): billhouse build --as-of {period.end:%Y-%m-%dT%H:%M:%SZ}"


def _has_void_after(home: Home, as_of: datetime, now: datetime) -> bool:
    """Whether a void has landed that a build now would see, and one as of this instant does not."""
    voided_at = RAW["voids"].read(home)["voided_at"]
    return bool(pc.any(pc.and_(pc.greater(voided_at, as_of), pc.less_equal(voided_at, now))).as_py())


def _prices(home: Home, seeds: Path) -> ChecklistItem:
    title = "Price book"
    problems = check_price_book(seeds) or contracts_in_another_currency(home, seeds) or edited_prices(home, seeds)
    if problems:
        return item("prices", title, _BLOCKS, f"{len(problems)} errors. First: {problems[0]}", "billhouse check-prices")
    if unpublishable := list(check_currencies(read_price_book(seeds)[0])):
        return item("prices", title, _ATTENTION, f"{unpublishable[0]}", "billhouse check-prices")
    return item("prices", title, _OK, "Valid; no price of a closed month was edited.")


def _quarantine(home: Home, period: BillingPeriod) -> ChecklistItem:
    """Rows in quarantine that landed since the month began: their own instant may be what cannot be read."""
    reasons = reasons_in_quarantine(home, landed_from=period.start)
    if not reasons:
        return item("quarantine", "Quarantine", _OK, "No row that landed since the month began is in quarantine.")
    rows, first = sum(reason["rows"] for reason in reasons), reasons[0]
    frequent = listed([(first["reason"], first["rows"])], QUARANTINE_REASONS)
    detail = f"{rows:,} rows that landed since the month began. Most frequent: {frequent}."
    detail += f" {first['example']}"
    examples = [{"kind": reason["kind"], "reason": reason["reason"], "rows": reason["rows"]} for reason in reasons[:10]]
    next_step = "After a correction here: billhouse land --again. Landed from another file? billhouse quarantine --settle --help."
    next_step += f" List them: billhouse quarantine --reason {first['reason']}"
    return item("quarantine", "Quarantine", _ATTENTION, detail, next_step, *examples)


def _alerts(home: Home) -> ChecklistItem:
    if not home.alerts.is_dir():
        return item("alerts", "Alerts", _OK, "None was raised.")
    with duckdb.connect() as connection:
        unsent = count_unsent(home, connection)
    state = _ATTENTION if unsent else _OK
    return item("alerts", "Alerts", state, f"{unsent:,} are not delivered.", "billhouse alerts; billhouse alerts --send")


def _from_reports(home: Home, period: BillingPeriod, closed: Sequence[BillingPeriod]) -> list[ChecklistItem]:
    if not home.analysts_file.exists():
        return []
    with _reports(home) as reports:
        found = report_items(reports, period, closed, is_published=PUBLICATIONS.has_rows(home))
    record = last_build(home)
    if record is None or record.as_of >= period.end:
        return found
    return [one if one.name == "stripe" else _not_known_yet(one, period, record.as_of) for one in found]


def _not_known_yet(one: ChecklistItem, period: BillingPeriod, as_of: datetime) -> ChecklistItem:
    """An item of a month that was not over at the last build's instant: what is not seen yet may need attention."""
    detail = f"Not known yet: the last build is as of {shown_minute(as_of)}, before the month's end."
    if as_of > period.start:
        detail += f" Until then: {one.detail}"
    state = _ATTENTION if one.state is _OK else one.state
    return replace(one, state=state, detail=detail, next_step=one.next_step or _build_after(period))


@contextmanager
def _reports(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """The report tables. Raises BillhouseError where they cannot be read."""
    try:
        with open_reports(home) as reports:
            yield reports
    except duckdb.Error as error:
        raise BillhouseError(
            f"The report tables in {home.analysts_file} cannot be read: {str(error).splitlines()[0]}",
            "Run `billhouse build` to rebuild them.",
        ) from error


def _ledger(home: Home, is_read: bool) -> list[ChecklistItem]:
    if not is_read:
        return []
    result = verify_ledger(home, with_raw_content=False)
    if result.problems:
        detail = f"{len(result.problems)} files or rows were changed after they were written. First: {result.problems[0]}"
        return [item("ledger", "Ledger", _BLOCKS, detail, "billhouse verify")]
    return [item("ledger", "Ledger", _OK, f"{len(result.periods)} closed months verified; head {result.head or 'none'}")]
