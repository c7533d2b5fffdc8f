"""Reduces a failing history to a minimal one, with one build per step.

A build is slow and takes many customers as easily as one, so each step tries everything that could be left out at once,
each attempt as a customer of its own.

    smallest = shrink(batch, "customer-00017", wrong_customers)   # wrong_customers: lands, builds, compares
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.reference.strategies import Batch, History

WrongCustomers = Callable[["Batch"], set[str]]
"""Which customers of a batch the warehouse and the engine disagree about."""


def shrink(batch: Batch, customer_id: str, wrong_customers: WrongCustomers) -> Batch:
    """The smallest failing history that removing rows leads to, as a batch of one customer with a new id."""
    smallest = only(batch, customer_id)
    while True:
        (history,) = smallest.histories
        attempts = _together(smallest, list(_smaller(history)))
        wrong = wrong_customers(attempts) if attempts.histories else set()
        still_wrong = [attempt for attempt in attempts.histories if attempt.customer_id in wrong]
        if not still_wrong:
            return smallest
        best = min(still_wrong, key=lambda attempt: len(attempt.events) + len(attempt.subscriptions) + len(attempt.listings))
        smallest = only(attempts, best.customer_id)


def only(batch: Batch, customer_id: str) -> Batch:
    """The batch with this customer alone, and no other customer's contract."""
    histories = tuple(history for history in batch.histories if history.customer_id == customer_id)
    others = {history.customer_id for history in batch.histories} - {customer_id}
    rows = {
        table: [row for row in of_table if _owner(row) not in others] for table, of_table in batch.price_book.extra_rows.items()
    }
    return replace(batch, histories=histories, price_book=replace(batch.price_book, extra_rows=rows))


def _owner(row: dict[str, str]) -> str:
    """The customer that a contract, or a price of a contract, is for; '' for a plan's."""
    if "rate_id" in row and "contract_id" not in row:  # a tier, by the name of its rate
        before, found, _ = row["rate_id"].partition("-contract-")
        return before if found else ""
    return row.get("customer_id") or row.get("contract_id", "").partition("-contract-")[0]


def _smaller(history: History) -> Iterator[History]:
    """The history without a range of its rows: halves first, then smaller ranges down to single rows."""
    for length in _lengths(len(history.events)):
        for at in range(0, len(history.events), length):
            yield replace(history, events=history.events[:at] + history.events[at + length :])
    for at in range(len(history.subscriptions)):
        yield replace(history, subscriptions=history.subscriptions[:at] + history.subscriptions[at + 1 :])
    for at in range(len(history.grants)):
        yield replace(history, grants=history.grants[:at] + history.grants[at + 1 :])
    for at in range(len(history.customer_records)):
        yield replace(history, customer_records=history.customer_records[:at] + history.customer_records[at + 1 :])
    for at in range(len(history.voids)):
        yield replace(history, voids=history.voids[:at] + history.voids[at + 1 :])
    for length in _lengths(len(history.listings)):
        for at in range(0, len(history.listings), length):
            yield replace(history, listings=history.listings[:at] + history.listings[at + length :])


def _lengths(count: int) -> Iterator[int]:
    length = count // 2
    while length > 1:
        yield length
        length //= 2
    if count:
        yield 1


def _together(batch: Batch, attempts: list[History]) -> Batch:
    """Candidate histories as a batch, each with a new customer id and the customer's contracts."""
    rows: dict[str, list[dict[str, str]]] = {
        table: [row for row in of_table if not _owner(row)] for table, of_table in batch.price_book.extra_rows.items()
    }
    renamed: list[History] = []
    for number, attempt in enumerate(attempts, 1):
        old, new = attempt.customer_id, f"attempt-{number:05d}"
        renamed.append(_renamed(attempt, new))
        for table, of_table in batch.price_book.extra_rows.items():
            rows[table] += [{column: text.replace(old, new) for column, text in row.items()} for row in of_table if _owner(row)]
    return replace(batch, histories=tuple(renamed), price_book=replace(batch.price_book, extra_rows=rows))


def _renamed(history: History, new: str) -> History:
    old = history.customer_id
    return replace(
        history,
        customer_id=new,
        listings=tuple(
            replace(
                part,
                scope=part.scope and part.scope.replace(old, new),
                sandbox_ids=tuple(sandbox_id.replace(old, new) for sandbox_id in part.sandbox_ids),
            )
            for part in history.listings
        ),
        events=tuple(
            replace(
                event,
                event_id=event.event_id and event.event_id.replace(old, new),
                sandbox_id=event.sandbox_id.replace(old, new),
                user_id=event.user_id.replace(old, new),
            )
            for event in history.events
        ),
        subscriptions=tuple(replace(record, customer_id=new) for record in history.subscriptions),
        customer_records=tuple(replace(record, customer_id=new) for record in history.customer_records),
        voids=tuple(replace(void, grant_id=void.grant_id and void.grant_id.replace(old, new)) for void in history.voids),
        grants=tuple(replace(grant, customer_id=new, grant_id=grant.grant_id.replace(old, new)) for grant in history.grants),
    )
