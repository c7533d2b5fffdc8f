"""What the start page says of a home: what needs a person, what is due next, and the invoices by month.

Reads only, and takes no lock: the analysts' file, which builds replace by rename, and lists of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb

from orchestration.lib.due import ENDS_BY_ITSELF, month_to_close
from orchestration.ui.closing_text import listed_items, open_items
from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.money import format_money
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.landing.record_kinds import Kind
from pipeline.landing.sources.source_files import all_sources
from pipeline.landing.waiting import waiting_inbox_files
from pipeline.monitoring.command_reports import failed_reports
from pipeline.store.alert_log import alert_states
from pipeline.store.quarantine_settlements import SETTLEMENTS
from pipeline.warehouse.build_record import last_build
from pipeline.warehouse.reports import files_landed_since_build, invoices_without_approval, open_reports

_ALERTS_FOR = timedelta(days=7)
_FAILURES = (BillhouseError, duckdb.Error, OSError, ValueError)
"""A section that cannot be read says so; the others are shown."""


@dataclass(frozen=True)
class Item:
    """One thing on the page."""

    title: str
    text: str = ""
    job: str = ""
    """The Dagster job that does it."""
    asset: tuple[str, ...] = ()
    """The asset that shows it."""
    command: str = ""
    run: str = ""
    config: str = ""
    """Configuration of the job, as YAML."""
    check: bool = False
    """Whether to open the asset at its checks."""


@dataclass
class HomeState:
    """What a home needs. Amounts are texts with their currency."""

    needs: list[Item] = field(default_factory=list)
    due: list[Item] = field(default_factory=list)
    months: list[dict[str, Any]] = field(default_factory=list)
    as_of: datetime | None = None
    """The instant of the last build."""


def read_home_state(home: Home, now: datetime) -> HomeState:
    """Read the state. A part that cannot be read is an item that says so."""
    state = HomeState()
    record = last_build(home)
    state.as_of = record.as_of if record is not None else None
    for find in (_approvals, _closing, _quarantine, _stripe, _alerts, _unrecorded):
        state.needs += _found(home, now, find)
    for find in (_inbox, _built, _publishing, _next_close):
        state.due += _found(home, now, find)
    state.needs = list(dict.fromkeys(state.needs))  # each section says that the reports are of an earlier version
    state.due = [item for item in dict.fromkeys(state.due) if item not in state.needs]
    try:
        state.months = _months(home)
    except _FAILURES:
        state.months = []
    return state


_Find = Callable[[Home, datetime], Iterator[Item]]


def _found(home: Home, now: datetime, find: _Find) -> list[Item]:
    try:
        return list(find(home, now))
    except duckdb.CatalogException:
        return [Item("The reports are of an earlier version.", "Build to see the rest.", job="land_and_build")]
    except _FAILURES as error:
        return [Item("A part of this page could not be read.", str(error))]


def _rows(home: Home, sql: str) -> list[tuple[Any, ...]]:
    """A query on the report tables; no rows where nothing was built yet."""
    if not home.analysts_file.exists():
        return []
    with open_reports(home) as reports:
        return reports.execute(sql).fetchall()


def _approvals(home: Home, _: datetime) -> Iterator[Item]:
    for period, totals in _by_month(_closed(home, is_automatic=False)).items():
        count, shown = sum(number for number, _ in totals), ", ".join(total for _, total in totals)
        # Without `by` and `why`, which Dagster asks for before it launches the job.
        config = f'ops:\n  approve:\n    config:\n      month: "{period}"\n      everything: true\n'
        yield Item(
            f"{_count(count, 'invoice')} of {period} {'waits' if count == 1 else 'wait'} for approval",
            f"{shown}. Nothing is published to Stripe before.",
            job="approve_invoices",
            config=config,
            command=f"billhouse approve {period}",
            asset=("billing", "invoices"),
        )


_Totals = Iterable[tuple[str, str, int, Decimal]]
"""Month, currency, number of invoices, and their sum in major units."""


def _closed(home: Home, *, is_automatic: bool) -> _Totals:
    """Collected invoices without approval: those that a publication approves (BILLHOUSE_AUTO_APPROVE_UNDER), or the others."""
    if not home.analysts_file.exists():
        return []
    with open_reports(home) as reports:
        invoices = [one for one in invoices_without_approval(home, reports) if one.is_automatic is is_automatic]
    found: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for invoice in invoices:
        number, total = found.get((invoice.period, invoice.currency), (0, Decimal(0)))
        found[invoice.period, invoice.currency] = (number + 1, total + invoice.total_amount)
    return [(*key, *value) for key, value in found.items()]


def _by_month(totals: _Totals) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for period, currency, number, total in totals:
        found.setdefault(period, []).append((number, format_money(total, currency)))
    return found


def _closing(home: Home, now: datetime) -> Iterator[Item]:
    month = month_to_close(home, now)
    if month is None:
        return
    stops, look = open_items(home, month, now)
    text = listed_items(stops, look) or "Its grace period is over, and the reports contain all of it."
    yield Item(
        f"{month} cannot be closed yet" if stops else f"{month} can be closed",
        text,
        job="" if stops else "close_month",
        command=f"billhouse close {month}{' --check' if stops or look else ''}",
        asset=("closed_invoices",),
        check=bool(stops),
    )


def _quarantine(home: Home, _: datetime) -> Iterator[Item]:
    rows = _rows(
        home,
        # The reports may be older than the last settlements.
        "select reason, count(*), arg_min(detail, (landed_at, file_name, file_row)) from quarantined_events as quarantined"
        f" where not exists (select 1 from {SETTLEMENTS.rows_sql(home)} as settlements where settlements.file_id ="
        " quarantined.file_id and settlements.file_row = quarantined.file_row)"
        " group by reason order by 2 desc, reason",
    )
    if rows:
        reason, number, detail = rows[0]
        more = f" {len(rows) - 1} other reasons." if len(rows) > 1 else ""
        yield Item(
            f"{_count(sum(row[1] for row in rows), 'row')} in quarantine: not billed",
            f"Most frequent: {reason} ({number:,}). {detail}{more}",
            command="billhouse quarantine",
            asset=("billing", "quarantined_events"),
        )


def _stripe(home: Home, _: datetime) -> Iterator[Item]:
    for difference, number in _rows(
        home,
        "select difference, count(*) from stripe_reconciliation where difference <> 'none' group by all order by 2 desc, 1",
    ):
        yield Item(
            f"{_count(number, 'invoice')} {'differs' if number == 1 else 'differ'} from Stripe: {difference}",
            command="billhouse reconcile",
            asset=("stripe_mirror",),
            check=True,
        )
    for problem, number in _rows(
        home,
        "select problem, count(*) from stripe_subscriptions where is_current and problem <> 'none' group by all order by all",
    ):
        yield Item(
            f"{_count(number, 'subscription')} in Stripe: {problem}",
            command="billhouse reconcile",
            asset=("billing", "stripe_subscriptions"),
        )


def _alerts(home: Home, now: datetime) -> Iterator[Item]:
    recent = [row for row in alert_states(home) if row["raised_at"] > now - _ALERTS_FOR and row["state"] != "suppressed"]
    if recent:
        newest = recent[0]
        yield Item(
            f"{_count(len({row['alert_id'] for row in recent}), 'alert')} in the last 7 days",
            f"Newest: {newest['kind']}, {newest['subject']} ({newest['raised_at'].astimezone(UTC):%Y-%m-%d %H:%M} UTC)."
            f" {newest['text'] or ''}",
            command="billhouse alerts",
            asset=("alert_deliveries",),
        )


def _unrecorded(home: Home, _: datetime) -> Iterator[Item]:
    reasons = failed_reports(home)
    if reasons:
        folder = home.command_reports / "failed"
        verb = "is" if len(reasons) == 1 else "are"
        text = f"Newest: {reasons[0]} The work itself is done. Read {folder}, then delete it."
        yield Item(f"{_count(len(reasons), 'command')} {verb} not in Dagster's history", text)


def _inbox(home: Home, _: datetime) -> Iterator[Item]:
    waiting = [file.path.relative_to(home.inbox) for file in waiting_inbox_files(home)]
    if not waiting:
        return
    folders = {*Kind, *(source.name for source in all_sources(home)[0])}
    others = [path for path in waiting if path.parts[0] not in folders]
    text = ""
    if others:
        text = f"{others[0]} is in no folder of a kind or source, and is not landed by the job."
        text += f" So are {len(others) - 1:,} others." if len(others) > 1 else ""
    yield Item(f"{_count(len(waiting), 'file')} in the inbox to land", text, job="land_and_build")


def _built(home: Home, _: datetime) -> Iterator[Item]:
    if not any((home.raw / "landed_files").glob("[!_]*.parquet")):
        yield Item("Nothing has landed yet", "Put files into the inbox, or land them.", command="billhouse land FILE")
    elif not home.analysts_file.exists():
        yield Item("Rows have landed, and nothing is built yet", job="land_and_build", command="billhouse build")
    elif files_landed_since_build(home):
        yield Item("Rows have landed since the last build", job="land_and_build", command="billhouse build")


def _publishing(home: Home, _: datetime) -> Iterator[Item]:
    for period, number in _rows(
        home, "select period, count(*) from invoices where status = 'approved' group by all order by all"
    ):
        yield Item(
            f"{_count(number, 'approved invoice')} of {period} to publish",
            job="publish_month",
            command=f"billhouse publish {period}",
        )
    for period, totals in _by_month(_closed(home, is_automatic=True)).items():
        yield Item(
            f"{_count(sum(number for number, _ in totals), 'invoice')} of {period} to approve automatically and publish",
            f"{', '.join(total for _, total in totals)}, each below BILLHOUSE_AUTO_APPROVE_UNDER.",
            job="publish_month",
            command=f"billhouse publish {period}",
        )


def _next_close(home: Home, now: datetime) -> Iterator[Item]:
    if month_to_close(home, now) is not None:
        return
    for (period,) in _rows(home, "select min(period) from invoices where status = 'draft'"):
        if period is None:
            continue
        month = BillingPeriod.parse(period)
        at = month.end + Settings.load().close_grace
        record = last_build(home)
        if now < at:
            yield Item(f"{month} can be closed from {at:%Y-%m-%d %H:%M} UTC", _until_then(home, month, now))
        elif record is not None and record.as_of < month.end:
            text = f"The reports are as of {record.as_of:%Y-%m-%d %H:%M} UTC: build, then close."
            yield Item(f"{month} is over, and not built completely", text, job="land_and_build", command="billhouse build")


def _until_then(home: Home, month: BillingPeriod, now: datetime) -> str:
    """In the grace period, what besides it and a build stops the close or needs a look. Before it, nothing."""
    if now < month.end:
        return ""
    stops, look = open_items(home, month, now)
    return listed_items([one for one in stops if one.name not in ENDS_BY_ITSELF], look)


def _months(home: Home) -> list[dict[str, Any]]:
    return [
        {"period": period, "status": status, "invoices": number, "total": format_money(total, currency)}
        for period, status, currency, number, total in _rows(
            home,
            "select period, status, currency, count(*), sum(total_amount) from invoices group by all"
            " order by period desc, status, currency limit 24",
        )
    ]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
