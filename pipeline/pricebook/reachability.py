"""Finds terms that can never apply: prices, credits and contracts that are never in force, or for no customer.

Such a row is usually a mistake (a wrong year or currency), and the intended price is never billed. Billing rules, section 5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pipeline.core.errors import BillhouseError, PriceBookError, Problem
from pipeline.core.home import Home
from pipeline.core.sql import parquet_files
from pipeline.pricebook.price_book import DEFAULT_CURRENCY, read_price_book, replaced_ids
from pipeline.pricebook.schema import FILES, Contract, MeterRate, Plan, PlanFee, PriceBookRows, SignupCredit

Price = PlanFee | SignupCredit | MeterRate
Span = tuple[datetime, datetime]
"""Start (inclusive) and end (exclusive)."""

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)
_PRICE_FILES = ("rates.csv", "plan_fees.csv", "signup_credits.csv")


def check_reachability(rows: PriceBookRows, books_open_at: datetime) -> Iterator[Problem]:
    """A problem for each row that can never apply. Rows that others correct (`replaces_...`) are ignored."""
    yield from _check_contracts(rows, books_open_at)
    for file in _PRICE_FILES:
        yield from _check_currencies(rows, file)
        yield from _check_spans(rows, file)


def _contracts(rows: PriceBookRows) -> list[tuple[int, Contract]]:
    return [(line, row) for line, row in rows["contracts.csv"] if isinstance(row, Contract)]


def _prices(rows: PriceBookRows, file: str) -> list[tuple[int, Price]]:
    """The rows of a file, with line numbers, except those that others correct."""
    replaced, identifier = replaced_ids(rows, file), FILES[file].identifier
    prices = [(line, row) for line, row in rows[file] if isinstance(row, PlanFee | SignupCredit | MeterRate)]
    return [(line, row) for line, row in prices if identifier is None or getattr(row, identifier) not in replaced]


def _check_contracts(rows: PriceBookRows, books_open_at: datetime) -> Iterator[Problem]:
    """A contract ends after the first billing month starts."""
    for line, contract in _contracts(rows):
        if contract.ends_at is not None and contract.starts_at < contract.ends_at <= books_open_at:
            yield Problem(
                "seeds/contracts.csv",
                line,
                f"{contract.contract_id} ends at {_text(contract.ends_at)}, before the books open with {books_open_at:%Y-%m}.",
                "Correct ends_at, remove the contract and its prices, or set an earlier BILLHOUSE_FIRST_BILLING_MONTH.",
            )


def _check_currencies(rows: PriceBookRows, file: str) -> Iterator[Problem]:
    """The prices of a contract are in its currency."""
    contracts = {contract.contract_id: contract for _, contract in _contracts(rows)}
    for line, price in _prices(rows, file):
        contract = contracts.get(price.contract_id or "")
        if contract is not None and price.currency != contract.currency:
            yield Problem(
                f"seeds/{file}",
                line,
                f"is in {price.currency}, but contract {contract.contract_id} is in {contract.currency}: it can never apply.",
                f"Write it in {contract.currency}, or remove it.",
            )


def _check_spans(rows: PriceBookRows, file: str) -> Iterator[Problem]:
    """A price is in force from its valid_from to that of the next row with its key, while its plan or contract is in force."""
    owners: dict[tuple[str | None, str | None], Span] = {
        (None, contract.contract_id): (contract.starts_at, contract.ends_at or _END_OF_TIME) for _, contract in _contracts(rows)
    }
    for _, plan in rows["plans.csv"]:
        if isinstance(plan, Plan):
            first, _ = owners.get((plan.plan_id, None), (plan.valid_from, _END_OF_TIME))
            owners[plan.plan_id, None] = (min(first, plan.valid_from), _END_OF_TIME)
    same: dict[tuple[object, ...], list[tuple[datetime, int, Price]]] = defaultdict(list)
    for line, price in _prices(rows, file):
        key = tuple(getattr(price, column) for column in FILES[file].key if column != "valid_from")
        same[key].append((price.valid_from, line, price))
    for versions in same.values():
        versions.sort(key=lambda version: version[:2])
        for (valid_from, line, price), following in zip(versions, [*versions[1:], None], strict=True):
            owner = owners.get((price.plan_id, price.contract_id))
            if owner is None:
                continue
            starts_at, ends_at = owner
            name = f"plan {price.plan_id}" if price.plan_id else f"contract {price.contract_id}"
            if valid_from >= ends_at:
                yield Problem(
                    f"seeds/{file}",
                    line,
                    f"is in force from {_text(valid_from)}, but {name} ends at {_text(ends_at)}: it can never apply.",
                    "Correct valid_from or the contract's ends_at, or remove the row.",
                )
            elif following is not None and valid_from < following[0] <= starts_at:
                yield Problem(
                    f"seeds/{file}",
                    line,
                    f"can never apply: line {following[1]} replaces it from {_text(following[0])} on, and {name} starts at"
                    f" {_text(starts_at)}.",
                    "Correct valid_from of one of the two, or remove this row.",
                )


def contracts_in_another_currency(home: Home, seeds: Path) -> list[Problem]:
    """Contracts in another currency than the landed records of their customer name: they can never apply.

    A customer whose records name no currency is billed in the default one. The build checks those, by the dbt test
    `contracts_are_in_their_customers_currency`.
    """
    rows, _ = read_price_book(seeds)
    contracts = _contracts(rows)
    if not contracts:
        return []
    currencies = customer_currencies(home)
    return [
        Problem(
            "seeds/contracts.csv",
            line,
            f"{contract.contract_id} is in {contract.currency}, but its customer {contract.customer_id} is billed in"
            f" {' and '.join(sorted(known))}: the contract can never apply.",
            f"Write the contract and its prices in {min(known)}, or land a customer record with currency {contract.currency}.",
        )
        for line, contract in contracts
        if (known := currencies.get(contract.customer_id)) and contract.currency not in known
    ]


def require_contracts_in_customers_currency(home: Home, seeds: Path) -> None:
    """Raise PriceBookError if a contract is in another currency than its customer's records."""
    problems = contracts_in_another_currency(home, seeds)
    if problems:
        raise PriceBookError(problems)


def customer_currencies(home: Home) -> Mapping[str, frozenset[str]]:
    """By customer, the currencies in its landed records; customers whose records name none are left out.

    Before its first dated record (`effective_at`) a customer is billed in the currency of an undated record, or the default one.
    """
    customers, files = home.raw / "customers", home.raw / "landed_files"
    if not any(customers.glob("*.parquet")) or not any(files.glob("*.parquet")):
        return {}
    with duckdb.connect() as connection:
        try:
            rows = connection.execute(
                f"""
                select records.customer_id, list(distinct records.currency), min_by(effective_at is not null, landed_sequence)
                from {parquet_files(customers, "**", "*.parquet")} as records
                inner join {parquet_files(files, "*.parquet")} as files on records.file_id = files.file_id
                where records.currency is not null
                group by records.customer_id"""
            ).fetchall()
        except duckdb.IOException as error:
            raise BillhouseError(f"The landed customer records cannot be read: {error}", "Restore raw/ from a backup.") from None
    return {
        customer_id: frozenset({*currencies, *([DEFAULT_CURRENCY] if starts_with_dated_record else [])})
        for customer_id, currencies, starts_with_dated_record in rows
    }


def _text(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
