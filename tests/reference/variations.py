"""Variations of the price book: the repository's seeds with more versions, and with contracts for some customers."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

Row = dict[str, str]

PLANS = ("hobby", "pro", "enterprise")
METERS = ("vcpu", "memory", "storage", "gpu", "tokens")
CURRENCIES = ("USD", "USD", "USD", "USD", "EUR", "JPY")
TIER_EDGES = ("0.000001", "1", "600", "1800", "3600", "3600.000001", "7200", "100000", "5000000")
FLAT_AMOUNTS = ("0", "0", "0.005", "1", "2.50")
PACKAGE_SIZES = ("0.000001", "1", "1000", "3600", "1000000")
DISCOUNT_RATES = ("", "", "0", "0.05", "0.125", "0.333333", "1")
COMMITMENTS = ("", "", "0", "0.01", "100", "2500.005", "100000")
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)

UNIT_AMOUNTS = (
    "0.000014",
    "0.0000045",
    "0.00000003",
    "0.00002",
    "0",
    "0.000000000001",
    "0.000123456789",
    "0.0025",
    "0.005",
)
"""Half cents among them: whole seconds at 0.005 are amounts that lie between two cents."""

ALLOWANCE_LEVELS = ("0", "0", "0.000001", "0.5", "1", "3.25", "10", "20")
MONTHLY_FEES = ("0", "0.01", "9.99", "29", "150.00", "199.999999")
SIGNUP_CREDITS = ("0", "0.01", "5.00", "100.00", "1000.00")
MAXIMUM_SESSIONS = ("", "1", "60", "1800", "3600", "86400", "90000", "604800")
DEFAULT_RESOURCES = ("0", "0.5", "1", "2", "4", "8.123456")


@dataclass(frozen=True)
class PriceBookVariation:
    """Rows to add to the seeds, by table; and which plan is the default one, under which name."""

    extra_rows: dict[str, list[Row]] = field(default_factory=dict)
    default_plan: str = ""
    """The plan to make the default one; '' leaves it."""
    new_names: Mapping[str, str] = field(default_factory=dict)
    """Plans to call otherwise, in every file of the price book."""

    def write(self, seeds: Path, folder: Path) -> Path:
        """Copy the seeds folder, add the rows to its CSV files, and rename plans. Returns the new folder."""
        if seeds != folder:
            shutil.copytree(seeds, folder, dirs_exist_ok=True)
        with_plans = ("plans", "plan_fees", "rates", "signup_credits") if self.default_plan or self.new_names else ()
        for table in dict.fromkeys([*self.extra_rows, *with_plans]):
            rows = self.extra_rows.get(table, [])
            path = folder / f"{table}.csv"
            with path.open(newline="", encoding="utf-8") as lines:
                reader = csv.DictReader(lines)
                columns = list(reader.fieldnames or ())
                before = list(reader)
            with path.open("w", newline="", encoding="utf-8") as lines:
                writer = csv.DictWriter(lines, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(self._with_names(table, row) for row in [*before, *rows])
        return folder

    def _with_names(self, table: str, row: Row) -> Row:
        if table == "plans" and self.default_plan:
            row = row | {"is_default": "true" if row["plan_id"] == self.default_plan else ""}
        return row | {"plan_id": self.new_names.get(row["plan_id"], row["plan_id"])} if "plan_id" in row else row

    def instants(self) -> set[datetime]:
        """Every instant at which one of the rows begins or ends to hold."""
        texts = {
            row.get(column, "")
            for rows in self.extra_rows.values()
            for row in rows
            for column in ("valid_from", "starts_at", "ends_at")
        }
        return {datetime.fromisoformat(text) for text in texts if text} - {ALWAYS}


def random_price_book(
    random: Random,
    instant: Callable[[Random], datetime],
    customer_ids: Sequence[str] = (),
    *,
    contract_share: float = 0.1,
    currency_of: Mapping[str, str] | None = None,
    books_open_at: datetime = ALWAYS,
) -> PriceBookVariation:
    """More versions of rates, fees, plans and sign-up credits, from instants that `instant` draws; and contracts, each in its
    customer's currency and none that ends before the books open.
    """
    tables = ("rates", "rate_tiers", "plan_fees", "plans", "signup_credits", "contracts")
    rows: dict[str, list[Row]] = {table: [] for table in tables}
    for plan_id in PLANS:
        for currency in dict.fromkeys(CURRENCIES):
            plan = {"plan_id": plan_id, "contract_id": "", "currency": currency}
            share = 1.0 if currency == "USD" else 0.4
            for meter_id in METERS:
                for valid_from in _some(random, instant, 0.35 * share):
                    _add_rate(random, plan, meter_id, valid_from, rows)
            for valid_from in _some(random, instant, 0.4 * share):
                rows["plan_fees"].append(_fee(random, plan, valid_from, len(rows["plan_fees"])))
            for valid_from in _some(random, instant, 0.3 * share):
                rows["signup_credits"].append(_credit(random, plan, valid_from))
        for valid_from in _some(random, instant, 0.4):
            rows["plans"].append(_plan(random, plan_id, valid_from))
    for customer_id in customer_ids:
        if random.random() < contract_share:
            _add_contracts(random, instant, customer_id, (currency_of or {}).get(customer_id, "USD"), books_open_at, rows)
    default_plan = random.choices(("", "hobby", *PLANS[1:]), (6, 1, 1, 1))[0]
    for row in rows["plans"]:
        row["is_default"] = "true" if row["plan_id"] == (default_plan or "hobby") else ""
    return PriceBookVariation(rows, default_plan, random.choice(({}, {}, {"hobby": "free"}, {"hobby": "pro", "pro": "plus"})))


def _some(random: Random, instant: Callable[[Random], datetime], share: float) -> list[datetime]:
    """None, or one to two different instants."""
    if random.random() >= share:
        return []
    return sorted({instant(random) for _ in range(random.choice((1, 1, 2)))})


def _reachable(starts: Iterable[datetime], starts_at: datetime, ends_at: datetime | None) -> list[datetime]:
    """Of the versions of one price of a contract, those that hold while it is in force: the price book is refused with others."""
    in_order = sorted(set(starts))
    following = [*in_order[1:], None]
    return [
        valid_from
        for valid_from, next_from in zip(in_order, following, strict=True)
        if (ends_at is None or valid_from < ends_at) and (next_from is None or next_from > starts_at)
    ]


def _add_contracts(
    random: Random,
    instant: Callable[[Random], datetime],
    customer_id: str,
    currency: str,
    books_open_at: datetime,
    rows: dict[str, list[Row]],
) -> None:
    """One contract, or two of which the second starts when the first ends; the last may have no end."""
    instants = sorted({instant(random) for _ in range(random.choice((1, 2, 2, 2, 3)))})
    ends = [*instants[1:], None] if len(instants) == 1 or random.random() < 0.3 else instants[1:]
    for number, (starts_at, ends_at) in enumerate(zip(instants, ends, strict=False), 1):
        contract_id = f"{customer_id}-contract-{number}"
        if ends_at is not None and ends_at <= books_open_at:
            continue
        contract = {"plan_id": "", "contract_id": contract_id, "currency": currency}
        rows["contracts"].append(
            {
                "contract_id": contract_id,
                "customer_id": customer_id,
                "contract_name": f"Contract {number} of {customer_id}",
                "starts_at": _text(starts_at),
                "ends_at": _text(ends_at) if ends_at else "",
                "currency": currency,
                "discount_rate": random.choice(DISCOUNT_RATES),
                "monthly_commitment_amount": random.choice(COMMITMENTS),
                "max_session_seconds": random.choice(MAXIMUM_SESSIONS),
                "max_concurrent_sandboxes": random.choice(("", "100")),
                "default_vcpu_count": random.choice(("", *DEFAULT_RESOURCES)),
                "default_memory_gb": random.choice(("", *DEFAULT_RESOURCES)),
                "default_storage_gb": random.choice(("", *DEFAULT_RESOURCES)),
            }
        )
        for meter_id in METERS:
            if random.random() < 0.7:
                # From its start; from long before, which only counts once it is in force; or from some time within.
                versions = (random.choice((starts_at, starts_at, ALWAYS)), *_some(random, instant, 0.2))
                for valid_from in _reachable(versions, starts_at, ends_at):
                    _add_rate(random, contract, meter_id, valid_from, rows)
        if random.random() < 0.5:
            valid_from = random.choice((starts_at, starts_at, ALWAYS, instant(random)))
            for reachable in _reachable([valid_from], starts_at, ends_at):
                rows["plan_fees"].append(_fee(random, contract, reachable, len(rows["plan_fees"])))
        if random.random() < 0.4:
            rows["signup_credits"].append(_credit(random, contract, random.choice((starts_at, ALWAYS))))


def _add_rate(random: Random, owner: Row, meter_id: str, valid_from: datetime, rows: dict[str, list[Row]]) -> None:
    """A rate of any charge model, with its tiers."""
    number = len(rows["rates"])
    rate_id = f"{owner['plan_id'] or owner['contract_id']}-{meter_id}-varied-{number}"
    charge_model = random.choice(("per_unit", "per_unit", "graduated", "volume", "package"))
    is_tiered = charge_model in ("graduated", "volume")
    rows["rates"].append(
        {
            "rate_id": rate_id,
            **owner,
            "meter_id": meter_id,
            "valid_from": _text(valid_from),
            "charge_model": charge_model,
            "unit_amount": "" if is_tiered else random.choice(UNIT_AMOUNTS),
            "package_size": random.choice(PACKAGE_SIZES) if charge_model == "package" else "",
            "allowance_level": "0" if meter_id == "tokens" else random.choice(ALLOWANCE_LEVELS),
            "replaces_rate_id": "",
        }
    )
    if charge_model == "package":
        # A price a package, not a second: else a small package costs more than an amount can hold.
        rows["rates"][-1]["unit_amount"] = random.choice(UNIT_AMOUNTS[:6])
    if is_tiered:
        edges = sorted(random.sample(TIER_EDGES, random.choice((0, 1, 2, 3))), key=float)
        for above, up_to in zip(["0", *edges], [*edges, ""], strict=True):
            rows["rate_tiers"].append(
                {
                    "rate_id": rate_id,
                    "above_quantity": above,
                    "up_to_quantity": up_to,
                    "unit_amount": random.choice(UNIT_AMOUNTS),
                    "flat_amount": random.choice(FLAT_AMOUNTS),
                }
            )


def correction(random: Random, seeds: Path, number: int) -> dict[str, list[Row]]:
    """Rows that correct a rate and a fee of the price book in a folder: the past gets another price."""
    rows: dict[str, list[Row]] = {"rates": [], "plan_fees": []}
    for table, id_column, price in (("rates", "rate_id", "unit_amount"), ("plan_fees", "fee_id", "monthly_fee_amount")):
        with (seeds / f"{table}.csv").open(newline="", encoding="utf-8") as lines:
            current_rows = list(csv.DictReader(lines))
        corrected = {row[f"replaces_{id_column}"] for row in current_rows}
        candidates = [row for row in current_rows if row[id_column] not in corrected and row[price] and row["plan_id"]]
        wrong = random.choice(candidates)
        amount = random.choice(UNIT_AMOUNTS[:6] if table == "rates" else MONTHLY_FEES)
        right = {id_column: f"{wrong[id_column]}-corrected-{number}", price: amount, f"replaces_{id_column}": wrong[id_column]}
        rows[table].append(wrong | right)
    return rows


def _fee(random: Random, owner: Row, valid_from: datetime, number: int) -> Row:
    return {
        "fee_id": f"{owner['plan_id'] or owner['contract_id']}-fee-varied-{number}",
        **owner,
        "valid_from": _text(valid_from),
        "fee_timing": random.choice(("arrears", "advance")),
        "monthly_fee_amount": random.choice(MONTHLY_FEES),
        "replaces_fee_id": "",
    }


def _credit(random: Random, owner: Row, valid_from: datetime) -> Row:
    return {
        **owner,
        "valid_from": _text(valid_from),
        # Whole minor units: yen have no cents.
        "credit_amount": random.choice(SIGNUP_CREDITS if owner["currency"] != "JPY" else ("0", "10", "15000")),
    }


def _plan(random: Random, plan_id: str, valid_from: datetime) -> Row:
    return {
        "plan_id": plan_id,
        "valid_from": _text(valid_from),
        "plan_name": plan_id.capitalize(),
        "collection": "none" if plan_id == "hobby" else "send_invoice",
        "max_session_seconds": random.choice(MAXIMUM_SESSIONS),
        "max_concurrent_sandboxes": "50",
        "default_vcpu_count": random.choice(DEFAULT_RESOURCES),
        "default_memory_gb": random.choice(DEFAULT_RESOURCES),
        "default_storage_gb": random.choice(DEFAULT_RESOURCES),
    }


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ").replace(".000000Z", "Z")
