"""Writes a period's double-entry journal as one self-contained Beancount file that passes bean-check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby
from typing import Any, TextIO

import duckdb

from pipeline.core.periods import BillingPeriod

OPENING = "Equity:OpeningBalances"
CREDIT = "Liabilities:CustomerCredit"
_OPENED = "1970-01-01"
_BATCH_ROWS = 10_000


def write_journal(reports: duckdb.DuckDBPyConnection, period: BillingPeriod, stream: TextIO) -> None:
    """Write the journal of a period: accounts, opening balances, entries, and a balance assertion of customer credit.

    Amounts are exact; debits are positive. Entries of drafts have the flag `!`. Income and expenses of earlier months are in the
    opening balance of equity. The chart of accounts is in docs/use/exports.md.
    """
    key = {"period": str(period)}
    found = reports.execute("select distinct currency from journal where period <= $period order by currency", key).fetchall()
    currencies = [currency for (currency,) in found]
    stream.write(f'option "title" "Billhouse {period}"\n')
    for currency in currencies:
        stream.write(f'option "operating_currency" "{currency}"\n')
    accounts = reports.execute("select distinct account from journal where period <= $period order by account", key).fetchall()
    stream.write("\n")
    for account in sorted({OPENING, CREDIT, *(_account(name) for (name,) in accounts)}):
        stream.write(f"{_OPENED} open {account}\n")
    _write_opening(reports, period, stream)
    entries = reports.execute(
        "select entry_id, entry_date, entry_kind, customer_id, invoice_id, is_draft, account, amount, currency"
        " from journal where period = $period order by entry_date, entry_id, posting_number",
        key,
    )
    for (entry_id, entry_date, kind, customer_id, invoice_id, is_draft), postings in groupby(
        _rows(entries), key=lambda row: row[:6]
    ):
        flag = "!" if is_draft else "*"
        stream.write(f'\n{entry_date} {flag} "{_text(customer_id)}" "{_text(kind.replace("_", " "))}"\n')
        stream.write(f'  entry: "{_text(entry_id)}"\n')
        if invoice_id:
            stream.write(f'  invoice: "{_text(invoice_id)}"\n')
        for *_, account, amount, currency in postings:
            stream.write(_posting(_account(account), amount, currency))
    _write_assertions(reports, period, currencies, stream)


def _write_opening(reports: duckdb.DuckDBPyConnection, period: BillingPeriod, stream: TextIO) -> None:
    """Write the balances of assets and liabilities at the start of the month, against equity."""
    opening = reports.execute(
        "select account, currency, sum(amount) from journal"
        " where period < $period and (account like 'Assets:%' or account like 'Liabilities:%')"
        " group by account, currency having sum(amount) <> 0 order by account, currency",
        {"period": str(period)},
    ).fetchall()
    if not opening:
        return
    stream.write(f'\n{period.start:%Y-%m-%d} * "Opening balances"\n')
    for account, currency, amount in opening:
        stream.write(_posting(_account(account), amount, currency))
    for currency in sorted({currency for _, currency, _ in opening}):
        total = sum((amount for _, of, amount in opening if of == currency), Decimal())
        stream.write(_posting(OPENING, -total, currency))


def _write_assertions(reports: duckdb.DuckDBPyConnection, period: BillingPeriod, currencies: list[str], stream: TextIO) -> None:
    """Assert that booked customer credit equals the credit ledger's closing balance, which is computed independently."""
    closing = dict(
        reports.execute(
            "select currency, sum(closing_amount) from credit_ledger where period = $period group by currency",
            {"period": str(period)},
        ).fetchall()
    )
    stream.write("\n")
    for currency in currencies:
        stream.write(f"{period.end:%Y-%m-%d} balance {CREDIT}  {-closing.get(currency, Decimal()):f} {currency}\n")


def _rows(found: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := found.fetchmany(_BATCH_ROWS):
        yield from rows


def _posting(account: str, amount: Decimal, currency: str) -> str:
    return f"  {account:<40} {amount:>18f} {currency}\n"


def _account(name: str) -> str:
    """An account name for Beancount, which allows letters, digits and hyphens."""
    return ":".join(re.sub(r"[^A-Za-z0-9-]", "-", part) for part in name.split(":"))


def _text(value: str) -> str:
    """Escape a text for a quoted string on one line."""
    return " ".join(value.split()).replace("\\", "\\\\").replace('"', '\\"')
