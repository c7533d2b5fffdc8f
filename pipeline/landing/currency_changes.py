"""Rejects customer records that would change the currency of a closed month. Billing rules, section 5.

A customer is billed in the currency of its first invoice. To change it, a record names the new currency and `effective_at`, the
first instant of a month that is not closed. The rows of a file are checked in order, each against the landed records, the closed
months, and the accepted rows above it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

import duckdb

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.sql import parquet_files
from pipeline.landing.landed_rows import LandedRows
from pipeline.landing.specification import CLEARED_FIELDS
from pipeline.pricebook.price_book import DEFAULT_CURRENCY
from pipeline.store.closes import closed_periods

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_NAMED = (
    f"coalesce(currency, case when contains(',' || {CLEARED_FIELDS} || ',', ',currency,') then '{DEFAULT_CURRENCY}' end) as named"
)
"""SQL: the currency that a record names; one that clears the currency names the default."""


@dataclass
class _Customer:
    """A customer's currencies, computed as in models/customers/customer_currencies.sql."""

    undated: str = DEFAULT_CURRENCY
    dated: dict[datetime, str] = field(default_factory=dict)
    billed: dict[datetime, str] = field(default_factory=dict)

    def add(self, currency: str, effective_at: datetime | None) -> None:
        if effective_at is not None:
            self.dated[effective_at] = currency
        elif not self.dated:
            self.undated = currency

    def changes(self) -> dict[datetime, str]:
        """By instant, the currency in force from then on, in order."""
        first = min(self.billed, default=None)
        is_first_billed = first is not None and min(self.dated, default=datetime.max.replace(tzinfo=UTC)) > first
        beginning = self.billed[first] if first is not None and is_first_billed else self.undated
        return dict(sorted(({_BEGINNING: beginning} | self.dated | self.billed).items()))

    def in_force_at(self, instant: datetime) -> str:
        return [currency for starts_at, currency in self.changes().items() if starts_at <= instant][-1]

    def in_force_from(self, instant: datetime) -> set[str]:
        """The currency at an instant, and every one after it."""
        return {self.in_force_at(instant), *(currency for starts_at, currency in self.changes().items() if starts_at > instant)}


def find_currency_changes(
    connection: duckdb.DuckDBPyConnection, home: Home, landed: LandedRows, landed_at: datetime
) -> list[tuple[int, str, str]]:
    """The rows of table `checked` that are rejected: (file_row, reason, detail)."""
    rows = connection.execute(
        f"select file_row, customer_id, {_NAMED}, effective_at from checked"
        " where reason is null and (named is not null or effective_at is not null) order by file_row"
    ).fetchall()
    if not rows:
        return []
    closed = closed_periods(home)
    customers = _known_customers(connection, home, landed, closed)
    rejected: list[tuple[int, str, str]] = []
    for file_row, customer_id, named, effective_at in rows:
        customer = customers[customer_id]
        if named is None:
            detail = "currency is missing: effective_at is the date of a change of currency only. Remove it, or write both."
            rejected.append((file_row, "missing_field", detail))
        elif problem := _problem(customer, named, effective_at, closed, landed_at):
            rejected.append((file_row, "currency_change", problem))
        else:
            customer.add(named, effective_at)
    return rejected


def _problem(
    customer: _Customer, named: str, effective_at: datetime | None, closed: list[BillingPeriod], landed_at: datetime
) -> str | None:
    """Why a record may not name this currency; None if it may."""
    if effective_at is None:
        allowed = customer.in_force_from(landed_at)
        if named in allowed or not (customer.billed or customer.dated):
            return None
        why = "by a closed invoice or a dated record" if customer.billed else "by a dated record"
        return (
            f"currency is '{named}', but the customer's is {customer.in_force_at(landed_at)}: {why}. To change it, add"
            f" effective_at, the first instant of a month that is not closed{_example(closed)}."
        )
    if effective_at != effective_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0):
        return (
            f"effective_at is '{effective_at:%Y-%m-%dT%H:%M:%S.%fZ}': a currency changes on the first instant of a month"
            f"{_example(closed)}."
        )
    if customer.in_force_at(effective_at) == named or not closed or effective_at >= closed[-1].end:
        return None
    return (
        f"effective_at is '{effective_at:%Y-%m-%dT%H:%M:%SZ}', and {closed[-1]} is closed: closed months keep their currency. "
        f"Write {closed[-1].end:%Y-%m-%dT%H:%M:%SZ} or the first instant of a later month."
    )


def _example(closed: list[BillingPeriod]) -> str:
    return f", for example {closed[-1].end:%Y-%m-%dT%H:%M:%SZ}" if closed else ", for example 2026-11-01T00:00:00Z"


def _known_customers(
    connection: duckdb.DuckDBPyConnection, home: Home, landed: LandedRows, closed: list[BillingPeriod]
) -> defaultdict[str, _Customer]:
    """The customers of table `checked`, with the currencies of their landed records and closed invoices."""
    customers: defaultdict[str, _Customer] = defaultdict(_Customer)
    records = landed.with_keys_of("checked")
    if records is not None:
        of_customers = "named is not null and customer_id in (select customer_id from checked)"
        chosen = f"(select *, {_NAMED} from {records} where {of_customers})"
        rows = connection.execute(
            f"select customer_id, named, effective_at from {chosen} as records"
            f" inner join {landed.files_of(chosen)} as files on records.file_id = files.file_id"
            " order by landed_sequence, file_row"
        )
        while batch := rows.fetchmany(10_000):
            for customer_id, named, effective_at in batch:
                customers[customer_id].add(named, effective_at)
    for period in closed:
        lines = parquet_files(home.closes / str(period) / "invoice_lines.parquet")
        billed = connection.execute(
            f"select customer_id, min(currency) from {lines}"
            " where service_period = period and not is_adjustment and line_type <> 'carry_forward'"
            " and customer_id in (select customer_id from checked) group by customer_id"
        ).fetchall()
        for customer_id, currency in billed:
            customers[customer_id].billed[period.start] = currency
    return customers
