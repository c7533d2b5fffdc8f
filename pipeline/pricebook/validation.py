"""Validates the price book; reports errors by file and line. It runs before dbt, so that nothing is built from errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from pydantic import AwareDatetime

from pipeline.core.errors import PriceBookError, Problem
from pipeline.core.settings import Settings
from pipeline.pricebook.price_book import SEEDS, read_price_book, read_rows, replaced_ids, shown_path
from pipeline.pricebook.rate_checks import check_beginnings, check_charge_models, check_coverage, check_tiers
from pipeline.pricebook.reachability import check_reachability
from pipeline.pricebook.schema import FILES, Contract, Currency, Plan, PriceBookRows, SignupCredit


def check_price_book(seeds: Path = SEEDS, *, with_reachability: bool = True) -> list[Problem]:
    """All errors in the price book; an empty list if it is valid.

    `with_reachability`: also report terms that can never apply.
    """
    rows, problems = read_price_book(seeds)
    for check in (
        _check_keys,
        _check_references,
        _check_replacements,
        _check_minor_units,
        _check_owners,
        _check_contracts,
        _check_default_plan,
        check_charge_models,
        check_tiers,
        check_coverage,
        check_beginnings,
    ):
        problems += check(rows)
    if with_reachability:
        problems += check_reachability(rows, Settings.load().books_open_at)
    return problems


def require_valid_price_book(seeds: Path = SEEDS, *, with_reachability: bool = True) -> None:
    """Raise PriceBookError with all errors if the price book has any."""
    problems = check_price_book(seeds, with_reachability=with_reachability)
    if problems:
        raise PriceBookError(problems)


def default_plan(seeds: Path = SEEDS) -> str:
    """The plan of customers without a plan record. Raises PriceBookError if the default plan is missing or ambiguous."""
    problems: list[Problem] = []
    rows: PriceBookRows = {"plans.csv": list(read_rows(seeds / "plans.csv", FILES["plans.csv"], problems))}
    problems += _check_default_plan(rows)
    if problems:
        raise PriceBookError(problems)
    (plan_id,) = {plan.plan_id for _, plan in rows["plans.csv"] if isinstance(plan, Plan) and plan.is_default}
    return plan_id


def _check_keys(rows: PriceBookRows) -> Iterator[Problem]:
    """Keys and ids are unique: two rows for the same thing from the same instant would be two prices."""
    for name, schema in FILES.items():
        for key in filter(None, (schema.key, (schema.identifier,) if schema.identifier else None)):
            first_line: dict[tuple[object, ...], int] = {}
            replaced = replaced_ids(rows, name) if key == schema.key else frozenset()
            for line, row in rows[name]:
                if schema.identifier and getattr(row, schema.identifier) in replaced:
                    continue
                value = tuple(getattr(row, column) for column in key)
                earlier = first_line.setdefault(value, line)
                if earlier != line:
                    shown = ", ".join(f"{c}={v}" for c, v in zip(key, value, strict=True) if v is not None)
                    yield Problem(
                        shown_path(name),
                        line,
                        f"has the same key as line {earlier}: {shown}.",
                        "Remove one, or change valid_from of the later one."
                        if "valid_from" in key
                        else "Remove one, or give this one another id.",
                    )


def _check_references(rows: PriceBookRows) -> Iterator[Problem]:
    """Plans, contracts, meters, currencies and rates that a row names exist."""
    targets: dict[str, str] = {
        "plan_id": "plans.csv",
        "contract_id": "contracts.csv",
        "meter_id": "meters.csv",
        "currency": "currencies.csv",
        "rate_id": "rates.csv",
    }
    known = {column: {getattr(row, column) for _, row in rows[name]} for column, name in targets.items()}
    for name, schema in FILES.items():
        for column in targets.keys() & schema.row.model_fields.keys():
            for line, row in rows[name]:
                value = getattr(row, column)
                if value is not None and value not in known[column]:
                    yield Problem(
                        shown_path(name),
                        line,
                        f"{column} '{value}' is not in seeds/{targets[column]}.",
                        f"Add it there, or use one of: {', '.join(sorted(known[column])) or '(the file is empty)'}.",
                    )


def _check_replacements(rows: PriceBookRows) -> Iterator[Problem]:
    """A row that corrects another names an existing row with the same key that no other row corrects."""
    for name, schema in FILES.items():
        if schema.replaces is None or schema.identifier is None:
            continue
        by_id = {getattr(row, schema.identifier): row for _, row in rows[name]}
        same = [column for column in schema.key if column != "valid_from"]
        corrected: dict[str, int] = {}
        for line, row in rows[name]:
            target = getattr(row, schema.replaces)
            if target is None:
                continue
            replaced = by_id.get(target)
            if replaced is None or replaced is row:
                reason = f"{schema.replaces} '{target}' does not name another row."
                yield Problem(shown_path(name), line, reason, "Name the row that it corrects.")
            elif any(getattr(row, column) != getattr(replaced, column) for column in same):
                reason = f"corrects '{target}', which differs in {', '.join(same)}."
                yield Problem(shown_path(name), line, reason, "Name a row that agrees in these columns.")
            elif target in corrected:
                reason = f"corrects '{target}', and so does line {corrected[target]}."
                yield Problem(shown_path(name), line, reason, "Let this row correct that one instead.")
            else:
                corrected[target] = line
        for line, row in rows[name]:
            chain, step = [getattr(row, schema.identifier)], getattr(row, schema.replaces)
            while step is not None and step in by_id and step not in chain:
                chain.append(step)
                step = getattr(by_id[step], schema.replaces)
            if step == chain[0] and len(chain) > 1:
                others = " which corrects ".join(map(repr, chain[1:]))
                reason = f"corrects {others} which corrects it: none of them would be in force."
                yield Problem(shown_path(name), line, reason, "Let the right row correct the other, and not the reverse.")


def _check_owners(rows: PriceBookRows) -> Iterator[Problem]:
    """A price belongs to either a plan or a contract."""
    for name in ("plan_fees.csv", "signup_credits.csv", "rates.csv"):
        for line, row in rows[name]:
            owners = [getattr(row, "plan_id"), getattr(row, "contract_id")]  # noqa: B009 - rows of three kinds
            if owners.count(None) != 1:
                yield Problem(shown_path(name), line, "must have either a plan_id or a contract_id.", "Fill in exactly one.")


def _check_minor_units(rows: PriceBookRows) -> Iterator[Problem]:
    """Credit amounts are whole minor units, since they are not rounded and reduce invoice totals."""
    digits = {row.currency: row.minor_unit_digits for _, row in rows["currencies.csv"] if isinstance(row, Currency)}
    for line, row in rows["signup_credits.csv"]:
        if isinstance(row, SignupCredit) and row.credit_amount != round(row.credit_amount, digits.get(row.currency, 6)):
            reason = f"credit_amount {row.credit_amount} has more decimals than {row.currency}."
            yield Problem(shown_path("signup_credits.csv"), line, reason, "Round it.")


def _check_contracts(rows: PriceBookRows) -> Iterator[Problem]:
    """A contract ends after it starts, and a customer has one contract at a time."""
    contracts = [(line, row) for line, row in rows["contracts.csv"] if isinstance(row, Contract)]
    by_customer: Callable[[tuple[int, Contract]], tuple[str, AwareDatetime]] = lambda item: (  # noqa: E731
        item[1].customer_id,
        item[1].starts_at,
    )
    ordered = sorted(contracts, key=by_customer)
    for line, contract in ordered:
        if contract.ends_at is not None and contract.ends_at <= contract.starts_at:
            yield Problem(shown_path("contracts.csv"), line, "ends before it starts.", "Correct starts_at or ends_at.")
    for (earlier_line, earlier), (line, later) in pairwise(ordered):
        if earlier.customer_id == later.customer_id and (earlier.ends_at is None or later.starts_at < earlier.ends_at):
            yield Problem(
                shown_path("contracts.csv"),
                line,
                f"overlaps line {earlier_line}: both are in force for {later.customer_id} from {later.starts_at:%Y-%m-%d}.",
                "End the earlier one when the later one starts.",
            )


def _check_default_plan(rows: PriceBookRows) -> Iterator[Problem]:
    """Exactly one plan is the default, in all its rows, from the first billing month on."""
    shown = shown_path("plans.csv")
    plans = [(line, plan) for line, plan in rows["plans.csv"] if isinstance(plan, Plan)]
    defaults = sorted({plan.plan_id for _, plan in plans if plan.is_default})
    if not plans:
        return
    if not defaults:
        yield Problem(
            shown,
            None,
            "has no default plan: customers without a plan record would have no plan.",
            "Add is_default as the last column, and write true in every row of the default plan.",
        )
    for line, plan in plans:
        if plan.is_default and plan.plan_id != defaults[0]:
            reason = f"declares {plan.plan_id} a default plan, but {defaults[0]} is one already."
            yield Problem(shown, line, reason, "Write true in is_default in the rows of one plan only.")
        if not plan.is_default and plan.plan_id in defaults:
            reason = f"does not declare {plan.plan_id} the default plan, but another row of the plan does."
            yield Problem(shown, line, reason, "Write true in is_default in every row of the default plan.")
    books_open_at = Settings.load().books_open_at
    for plan_id in defaults:
        first, line = min((plan.valid_from, line) for line, plan in plans if plan.plan_id == plan_id)
        if first > books_open_at:
            yield Problem(
                shown,
                line,
                f"is the first row of the default plan {plan_id}, and starts after the books open with {books_open_at:%Y-%m}.",
                "Let it start by then, or set a later BILLHOUSE_FIRST_BILLING_MONTH.",
            )
