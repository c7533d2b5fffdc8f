"""The closing checklist of a month: everything that must be so before it is closed, each with its state and the next step.

It reads files and the analysts' copy of the reports, takes no lock and writes nothing, so that it can run at any time, also
during a build. Billing rules, section 7; docs/use/close-a-month.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.feeds.configured import read_feeds
from pipeline.landing.inbox import waiting_files
from pipeline.landing.quarantine_report import reasons_in_quarantine
from pipeline.ledger.checklist_item import ChecklistItem, CheckState, item
from pipeline.ledger.closing_reports import report_items
from pipeline.ledger.verify import verify_ledger
from pipeline.pricebook.edits import edited_prices
from pipeline.pricebook.price_book import read_price_book
from pipeline.pricebook.reachability import contracts_in_another_currency
from pipeline.pricebook.stripe_currencies import check_currencies
from pipeline.pricebook.validation import check_price_book
from pipeline.store.alert_log import count_unsent
from pipeline.store.closes import closed_periods, read_close
from pipeline.store.raw import landed_file_rows
from pipeline.warehouse.build_record import is_current, last_build
from pipeline.warehouse.project import project_of
from pipeline.warehouse.reports import open_reports

_OK, _ATTENTION, _BLOCKS = CheckState.OK, CheckState.ATTENTION, CheckState.BLOCKS


def closing_checklist(
    home: Home, period: BillingPeriod, *, now: datetime | None = None, project: Path | None = None
) -> list[ChecklistItem]:
    """The items, in the order in which a person should settle them. The month can be closed where no item blocks.

    Of a month that is closed, only that and the state of the ledger. Raises BillhouseError where the reports cannot be read.
    """
    now = now or datetime.now(UTC)
    project = project or project_of(home)
    closed = closed_periods(home)
    if period in closed:
        closed_at = read_close(home, period, "close")["closed_at"][0].as_py()
        return [item("order", "Earlier months", _OK, f"{period} was closed at {_minute(closed_at)}."), _ledger(home)]
    return [
        _grace_period(period, now),
        _order(home, period, closed),
        _last_build(home, period, project),
        _prices(home, project / "seeds"),
        _inbox(home, period),
        _feeds(home, period),
        _quarantine(home, period),
        _alerts(home),
        *_from_reports(home, period, closed),
        _ledger(home),
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
        detail = f"It ends at {_minute(first)}: late events have until then."
        return item("grace_period", title, _BLOCKS, detail, f"Wait, or close now: billhouse close {period} --force")
    return item("grace_period", title, _OK, f"It ended at {_minute(first)}.")


def _order(home: Home, period: BillingPeriod, closed: Sequence[BillingPeriod]) -> ChecklistItem:
    title = "Earlier months"
    if closed and period < closed[-1]:
        next_step = f"Amounts due for {period} are adjustments on the next invoice."
        return item("order", title, _BLOCKS, f"{closed[-1]} is closed: {period} cannot be closed any more.", next_step)
    if not home.analysts_file.exists():
        return item("order", title, _ATTENTION, "Not known before a build.", "billhouse build")
    with open_reports(home) as reports:
        found = reports.execute(
            "select distinct period from invoices where status = 'draft' and period < $period order by period",
            {"period": str(period)},
        ).fetchall()
    drafts = [earlier for (earlier,) in found]
    if drafts:
        return item("order", title, _BLOCKS, f"Not closed: {', '.join(drafts)}.", f"Close it first: billhouse close {drafts[0]}")
    return item("order", title, _OK, f"Closed through {closed[-1]}." if closed else "No earlier month has invoices.")


def _last_build(home: Home, period: BillingPeriod, project: Path) -> ChecklistItem:
    title, record = "Last build", last_build(home)
    if record is None:
        return item("last_build", title, _BLOCKS, "Nothing was built yet.", "billhouse build")
    as_of = f"As of {_minute(record.as_of)}"
    if not record.inputs:
        return item("last_build", title, _BLOCKS, f"{as_of}: it did not finish, or a check failed.", "billhouse build")
    if record.as_of < period.end:
        detail = f"{as_of}: the month was not over, and events after it are not seen."
        return item("last_build", title, _BLOCKS, detail, f"billhouse build --as-of {period.end:%Y-%m-%dT%H:%M:%SZ} or later")
    if not is_current(home, record.as_of, project):
        detail = f"{as_of}, all checks passed. Rows, prices or settings changed since: the items below may be outdated."
        return item("last_build", title, _ATTENTION, detail, "billhouse build (a close does so itself)")
    return item("last_build", title, _OK, f"{as_of}, all checks passed.")


def _prices(home: Home, seeds: Path) -> ChecklistItem:
    title = "Price book"
    problems = check_price_book(seeds) or contracts_in_another_currency(home, seeds) or edited_prices(home, seeds)
    if problems:
        return item("prices", title, _BLOCKS, f"{len(problems)} errors. First: {problems[0]}", "billhouse check-prices")
    if unpublishable := list(check_currencies(read_price_book(seeds)[0])):
        return item("prices", title, _ATTENTION, f"{unpublishable[0]}", "billhouse check-prices")
    return item("prices", title, _OK, "Valid; no price of a closed month was edited.")


def _inbox(home: Home, period: BillingPeriod) -> ChecklistItem:
    """Files that wait. One with the name and size of a landed file does not count: landing it again lands nothing."""
    landed = _landed_names(home)
    folders = sorted(path.name for path in home.inbox.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [(path, path.lstat()) for folder in folders for path in waiting_files(home, folder)]
    waiting = [(path, found) for path, found in files if (path.name, found.st_size) not in landed]
    if not waiting:
        return item("inbox", "Inbox", _OK, f"{len(files):,} files, all landed." if files else "Empty.")
    oldest, found = min(waiting, key=lambda one: one[1].st_mtime)
    since = datetime.fromtimestamp(found.st_mtime, UTC)
    detail = f"{len(waiting):,} files wait, the oldest since {_minute(since)}: {oldest.relative_to(home.inbox)}."
    state = _BLOCKS if since < period.end + Settings.load().close_grace else _ATTENTION
    return item("inbox", "Inbox", state, detail, "Land them: billhouse land FILE..., or the job land_and_build")


def _landed_names(home: Home) -> set[tuple[str, int]]:
    """Name and size of each landed file."""
    rows = landed_file_rows(home).select(["file_name", "file_bytes"]).to_pylist()
    return {(Path(row["file_name"]).name, row["file_bytes"]) for row in rows}


def _feeds(home: Home, period: BillingPeriod) -> ChecklistItem:
    """A source whose position is from before the month's end may lack the month's last usage."""
    positions = {path.stem: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in sorted(home.collecting.glob("*.json"))}
    configured = {feed.name for feed in read_feeds(home)}
    stopped = [(name, at) for name, at in positions.items() if at < period.end]
    if stopped:
        name, at = min(stopped, key=lambda found: found[1])
        detail = f"{len(stopped)} of {len(positions)} have not run since the month ended. {name}: last at {_minute(at)}."
        examples = [{"feed": name, "last_position_at": at.isoformat()} for name, at in stopped[:10]]
        return item("feeds", "Feeds", _ATTENTION, detail, "Run it: billhouse feeds run, or its collect command", *examples)
    if not positions:
        state = _ATTENTION if configured else _OK
        detail = f"{len(configured)} configured, none has run." if configured else "None is used."
        return item("feeds", "Feeds", state, detail, "billhouse feeds run")
    return item("feeds", "Feeds", _OK, f"All {len(positions)} have run since the month ended.")


def _quarantine(home: Home, period: BillingPeriod) -> ChecklistItem:
    """Rows in quarantine that landed since the month began: their own instant may be what cannot be read."""
    reasons = reasons_in_quarantine(home, landed_from=period.start)
    if not reasons:
        return item("quarantine", "Quarantine", _OK, "No row that landed since the month began is in quarantine.")
    rows, first = sum(reason["rows"] for reason in reasons), reasons[0]
    detail = f"{rows:,} rows that landed since the month began. Most frequent: {first['reason']} ({first['rows']:,})."
    detail += f" {first['example']}"
    examples = [{"kind": reason["kind"], "reason": reason["reason"], "rows": reason["rows"]} for reason in reasons[:10]]
    next_step = f"billhouse quarantine --reason {first['reason']}; corrected the cause here? billhouse land --again"
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
    try:
        with open_reports(home) as reports:
            return report_items(reports, period, closed)
    except duckdb.Error as error:
        raise BillhouseError(
            f"The report tables in {home.analysts_file} cannot be read: {str(error).splitlines()[0]}",
            "Run `billhouse build` to rebuild them.",
        ) from error


def _ledger(home: Home) -> ChecklistItem:
    result = verify_ledger(home, with_raw_content=False)
    if result.problems:
        detail = f"{len(result.problems)} files or rows were changed after they were written. First: {result.problems[0]}"
        return item("ledger", "Ledger", _BLOCKS, detail, "billhouse verify")
    return item("ledger", "Ledger", _OK, f"{len(result.periods)} closed months verified; head {result.head or 'none'}")


def _minute(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
