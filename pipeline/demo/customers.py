"""Generates the demo's customers: names, plans, plan changes and usage habits.

All are invented; their e-mail addresses use domains reserved for examples.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

CONTRACT_CUSTOMER = "acme-robotics"
"""The customer of the contract in seeds/contracts.csv."""

HOBBY_CUSTOMERS, PRO_CUSTOMERS = 213, 82
WITHOUT_RECORDS = 3
"""Customers that occur only in events: without customer record and subscription."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    "Aiko Amara Anders Beatriz Camille Chidi Clara Dario Elif Emeka Emma Farah Felix Grace Hanna Hugo Imani Ines Ivan"
    " Jonas Julia Kenji Lars Leila Lucía Maya Mateo Mei Milan Nadia Noah Olga Omar Priya Rafael Ravi Sara Seán Sofia"
    " Tomás Yara Zoë"
)
LAST_NAMES = _words(
    "Abe Adeyemi Bauer Berg Castillo Chen Costa Diallo Dubois Eriksen Fischer García Haddad Hansen Ito Jansen Kaya Kim"
    " Kowalski Kumar Larsen López Meyer Moreau Müller Nakamura Nowak O'Brien Okafor Patel Petrov Rossi Sato Silva Singh"
    " Smit Tanaka Tremblay Vargas Weber Wójcik Yilmaz"
)
COMPANY_NAMES = _words(
    "Alder Basalt Beacon Birch Cobalt Copper Cypress Delta Ember Fathom Fjord Granite Harbor Heron Indigo Juniper"
    " Kestrel Larch Lumen Maple Meridian Northwind Onyx Orchard Pebble Quartz Raven Saffron Tidal Umber Vesper Willow"
)
COMPANY_KINDS = (
    "Labs",
    "Analytics",
    "AI",
    "Systems",
    "Health",
    "Finance",
    "Robotics",
    "Studio",
    "Software",
    "Research",
)
ODD_COMPANIES = ("+Plus Analytics", "Lindqvist, Berg & Co", '"Quoted" Studio', "@home Automation")
"""Names with characters that CSV files and spreadsheets treat specially."""
ENTERPRISES = ("Borealis Bank", "Helix Genomics", "Meridian Logistics", "Summit Insurance")


@dataclass(frozen=True)
class Customer:
    """One customer and its usage habits."""

    customer_id: str
    name: str
    email: str
    plan_id: str
    signed_up_at: datetime
    monthly_spend_limit: int | None
    sessions_per_day: float
    minutes_per_session: float
    """Median."""
    size: int
    """Index of its usual sandbox in pipeline.demo.events.SIZES."""
    collector: str
    utc_offset_hours: int


@dataclass(frozen=True)
class PlanRecord:
    """A subscription record. Billing rules, section 5."""

    customer_id: str
    plan_id: str
    effective_at: datetime


@dataclass(frozen=True)
class Cast:
    """All customers of the demo with their subscription records."""

    customers: tuple[Customer, ...]
    subscriptions: tuple[PlanRecord, ...]
    """The first records, in order of time."""
    corrections: tuple[PlanRecord, ...]
    """Later records, which replace those of the same customer and instant."""


def make_cast(rng: np.random.Generator, starts_at: datetime) -> Cast:
    """Generate customers and their plans, for usage that begins at `starts_at`."""
    customers = tuple(_make_customers(rng, starts_at))
    # Earlier customers are on their plan from the first day on: the months before were billed by another system.
    subscriptions = [
        PlanRecord(person.customer_id, person.plan_id, max(person.signed_up_at, starts_at))
        for person in customers[WITHOUT_RECORDS:]
    ]
    changes, corrections = _plan_changes(rng, customers, starts_at)
    written = sorted(subscriptions + changes, key=lambda record: (record.effective_at, record.customer_id))
    return Cast(customers, tuple(written), tuple(corrections))


def _make_customers(rng: np.random.Generator, starts_at: datetime) -> list[Customer]:
    people = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    people = [people[i] for i in rng.permutation(len(people))[: HOBBY_CUSTOMERS + PRO_CUSTOMERS]]
    companies = [f"{name} {kind}" for name in COMPANY_NAMES for kind in COMPANY_KINDS]
    companies = [*ODD_COMPANIES, *(companies[i] for i in rng.permutation(len(companies))[:PRO_CUSTOMERS])]
    customers = [_make_customer(rng, name, "hobby", starts_at) for name in people[:HOBBY_CUSTOMERS]]
    for number in range(PRO_CUSTOMERS):
        name = companies[number // 2] if number % 2 == 0 else people[HOBBY_CUSTOMERS + number]
        customers.append(_make_customer(rng, name, "pro", starts_at))
    customers.extend(_make_customer(rng, name, "enterprise", starts_at) for name in ENTERPRISES)
    customers.append(_make_customer(rng, "Acme Robotics", "enterprise", starts_at))
    return customers


def _make_customer(rng: np.random.Generator, name: str, plan_id: str, starts_at: datetime) -> Customer:
    customer_id = handle(name)
    is_person = plan_id == "hobby" or name.split()[0] in FIRST_NAMES
    email = (
        f"{customer_id.replace('-', '.', 1)}@example.{rng.choice(['com', 'org', 'net'])}"
        if is_person
        else f"billing@{customer_id}.example"
    )
    # Most signed up before; every seventh hobby customer signs up during the demo.
    days = -int(rng.integers(20, 600))
    if plan_id == "hobby" and rng.random() < 0.14:
        days = int(rng.integers(1, 44))
    signed_up_at = starts_at + timedelta(days=days, seconds=int(rng.integers(0, 86_400)))
    limit = int(rng.choice([50, 200, 500])) if plan_id != "enterprise" and rng.random() < 0.2 else None
    collector, daily, minutes, size = _habits(rng, plan_id)
    if customer_id == CONTRACT_CUSTOMER:
        daily, minutes, size = 150.0, 55.0, 5
    offset = int(rng.choice([-8, -5, 0, 1, 2, 5, 9]))
    return Customer(customer_id, name, email, plan_id, signed_up_at, limit, daily, minutes, size, collector, offset)


def _habits(rng: np.random.Generator, plan_id: str) -> tuple[str, float, float, int]:
    """Collector, sessions a day, median minutes of a session, and usual size."""
    if plan_id == "hobby":
        collector = "edge" if rng.random() < 0.3 else "gateway"
        if rng.random() < 0.05:
            return collector, float(rng.uniform(45, 75)), 22.0, 2  # uses more than the sign-up credit
        return collector, float(min(rng.lognormal(0.8, 0.9), 25)), 16.0, int(rng.choice([0, 0, 0, 1, 2]))
    if plan_id == "pro":
        if rng.random() < 0.12:
            return "ticker", float(rng.uniform(0.8, 1.6)), 110.0, 3
        collector = "cluster" if rng.random() < 0.5 else "gateway"
        size = 7 if rng.random() < 0.09 else int(rng.choice([2, 2, 3, 4]))
        return collector, float(min(rng.lognormal(1.6, 0.7), 30)), 50.0, size
    return "cluster", float(rng.uniform(15, 35)), 50.0, 4


def _plan_changes(
    rng: np.random.Generator, customers: tuple[Customer, ...], starts_at: datetime
) -> tuple[list[PlanRecord], list[PlanRecord]]:
    """Upgrades and downgrades in mid-month, and wrong records with their corrections."""

    def pick(plan_id: str, count: int) -> list[Customer]:
        settled = [c for c in customers if c.plan_id == plan_id and c.signed_up_at < starts_at and c.collector != "ticker"]
        return [settled[i] for i in rng.choice(len(settled), count, replace=False)]

    def some_day(first: int, last: int) -> datetime:
        return starts_at + timedelta(days=int(rng.integers(first, last)), microseconds=int(rng.integers(0, 86_400 * 10**6)))

    hobby, pro = pick("hobby", 17), pick("pro", 5)
    changes = [PlanRecord(c.customer_id, "pro", some_day(3, 42)) for c in hobby[:14]]
    # An upgrade and a downgrade within the month.
    changes.append(PlanRecord(hobby[14].customer_id, "pro", starts_at + timedelta(days=4, hours=9)))
    changes.append(PlanRecord(hobby[14].customer_id, "hobby", starts_at + timedelta(days=19, hours=17, minutes=30)))
    changes.extend(PlanRecord(c.customer_id, "hobby", some_day(5, 28)) for c in pro[:4])
    changes.append(PlanRecord(pro[4].customer_id, "enterprise", starts_at + timedelta(days=30)))
    # Recorded on pro by mistake; the correction for the same instant lands weeks later.
    mistakes = [PlanRecord(c.customer_id, "pro", starts_at + timedelta(days=9, hours=8)) for c in hobby[15:]]
    corrections = [PlanRecord(record.customer_id, "hobby", record.effective_at) for record in mistakes]
    return changes + mistakes, corrections


def handle(name: str) -> str:
    """'Zoë Müller' -> 'zoe-muller': ASCII, for ids and addresses."""
    plain = unicodedata.normalize("NFKD", name.replace("&", "and")).encode("ascii", "ignore").decode()
    return "-".join("".join(c if c.isalnum() else " " for c in plain.lower().replace("'", "")).split())
