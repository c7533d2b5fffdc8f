"""Variations of the price book: the repository's seeds with more versions, and with contracts for some customers."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

Row = dict[str, str]

PLANS = ("hobby", "pro", "enterprise")
METERS = ("vcpu", "memory", "storage")
CURRENCY = "USD"
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
    """Rows to add to the seeds, by table."""

    extra_rows: dict[str, list[Row]] = field(default_factory=dict)

    def write(self, seeds: Path, folder: Path) -> Path:
        """Copy the seeds folder and add the rows to its CSV files. Returns the new folder."""
        shutil.copytree(seeds, folder, dirs_exist_ok=True)
        for table, rows in self.extra_rows.items():
            path = folder / f"{table}.csv"
            with path.open(newline="", encoding="utf-8") as lines:
                reader = csv.DictReader(lines)
                columns = list(reader.fieldnames or ())
                before = list(reader)
            with path.open("w", newline="", encoding="utf-8") as lines:
                writer = csv.DictWriter(lines, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows([*before, *rows])
        return folder

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
) -> PriceBookVariation:
    """More versions of rates, fees, plans and sign-up credits, from instants that `instant` draws; and contracts."""
    rows: dict[str, list[Row]] = {"rates": [], "plan_fees": [], "plans": [], "signup_credits": [], "contracts": []}
    for plan_id in PLANS:
        plan = {"plan_id": plan_id, "contract_id": ""}
        for meter_id in METERS:
            for valid_from in _some(random, instant, 0.35):
                rows["rates"].append(_rate(random, plan, meter_id, valid_from, len(rows["rates"])))
        for valid_from in _some(random, instant, 0.4):
            rows["plan_fees"].append(_fee(random, plan, valid_from, len(rows["plan_fees"])))
        for valid_from in _some(random, instant, 0.3):
            rows["signup_credits"].append(_credit(random, plan, valid_from))
        for valid_from in _some(random, instant, 0.4):
            rows["plans"].append(_plan(random, plan_id, valid_from))
    for customer_id in customer_ids:
        if random.random() < contract_share:
            _add_contracts(random, instant, customer_id, rows)
    return PriceBookVariation(rows)


def _some(random: Random, instant: Callable[[Random], datetime], share: float) -> list[datetime]:
    """None, or one to two different instants."""
    if random.random() >= share:
        return []
    return sorted({instant(random) for _ in range(random.choice((1, 1, 2)))})


def _add_contracts(random: Random, instant: Callable[[Random], datetime], customer_id: str, rows: dict[str, list[Row]]) -> None:
    """One contract, or two of which the second starts when the first ends; the last may have no end."""
    instants = sorted({instant(random) for _ in range(random.choice((1, 2, 2, 2, 3)))})
    ends = [*instants[1:], None] if len(instants) == 1 or random.random() < 0.3 else instants[1:]
    for number, (starts_at, ends_at) in enumerate(zip(instants, ends, strict=False), 1):
        contract_id = f"{customer_id}-contract-{number}"
        contract = {"plan_id": "", "contract_id": contract_id}
        rows["contracts"].append(
            {
                "contract_id": contract_id,
                "customer_id": customer_id,
                "contract_name": f"Contract {number} of {customer_id}",
                "starts_at": _text(starts_at),
                "ends_at": _text(ends_at) if ends_at else "",
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
                for valid_from in {random.choice((starts_at, starts_at, ALWAYS)), *_some(random, instant, 0.2)}:
                    rows["rates"].append(_rate(random, contract, meter_id, valid_from, len(rows["rates"])))
        if random.random() < 0.5:
            valid_from = random.choice((starts_at, starts_at, ALWAYS, instant(random)))
            rows["plan_fees"].append(_fee(random, contract, valid_from, len(rows["plan_fees"])))
        if random.random() < 0.4:
            rows["signup_credits"].append(_credit(random, contract, random.choice((starts_at, ALWAYS))))


def _rate(random: Random, owner: Row, meter_id: str, valid_from: datetime, number: int) -> Row:
    return {
        "rate_id": f"{owner['plan_id'] or owner['contract_id']}-{meter_id}-varied-{number}",
        **owner,
        "meter_id": meter_id,
        "currency": CURRENCY,
        "valid_from": _text(valid_from),
        "charge_model": "per_unit",
        "unit_amount": random.choice(UNIT_AMOUNTS),
        "allowance_level": random.choice(ALLOWANCE_LEVELS),
    }


def _fee(random: Random, owner: Row, valid_from: datetime, number: int) -> Row:
    return {
        "fee_id": f"{owner['plan_id'] or owner['contract_id']}-fee-varied-{number}",
        **owner,
        "currency": CURRENCY,
        "valid_from": _text(valid_from),
        "fee_timing": "arrears",
        "monthly_fee_amount": random.choice(MONTHLY_FEES),
    }


def _credit(random: Random, owner: Row, valid_from: datetime) -> Row:
    return {
        **owner,
        "currency": CURRENCY,
        "valid_from": _text(valid_from),
        "credit_amount": random.choice(SIGNUP_CREDITS),
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
