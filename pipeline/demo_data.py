"""A believable month and a half of usage, the same bytes every time: what `billhouse demo` lands.

Four collectors write as collectors do: some events come twice, late, out of order, or not at all.

    gateway   a JSON Lines file a day, nested resources, CamelCase types
    edge      a CSV file a week, no event ids, local time with its offset
    cluster   a Parquet file a week, with execution ids
    ticker    a JSON Lines file a week: a heartbeat a minute that changes nothing
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.demo_customers import CONTRACT_CUSTOMER, Cast, Customer, make_cast
from pipeline.periods import BillingPeriod

STARTS_AT = datetime(2026, 9, 1, tzinfo=UTC)
AS_OF = datetime(2026, 10, 16, tzinfo=UTC)
PERIOD_TO_CLOSE = BillingPeriod(2026, 9)
DAYS = (AS_OF - STARTS_AT).days

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
"""Instants are whole microseconds since STARTS_AT until they are written."""

SIZES = np.array(
    [(2, 0.5, 1), (2, 1, 1), (4, 4, 5), (4, 4, 5), (4, 8, 10), (8, 16, 20), (8, 16, 250), (4, 8, 200), (8, 8, 10)]
)
"""vCPUs, GB of memory, GB of storage of the sandboxes on offer."""

COLLECTORS = ("gateway", "edge", "cluster", "ticker")
START, UPDATE, STOP = 0, 1, 2
OUTAGE_DAY = 28
"""The gateway could not send part of this day's events (29 September); they came days later, in a file of their own."""
OUTAGE_FILE_DAY = 34

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DemoFiles:
    """The files, for each kind in the order in which to land them, and the instants that belong to them."""

    customers: tuple[Path, ...]
    subscriptions: tuple[Path, ...]
    credit_grants: tuple[Path, ...]
    usage: tuple[Path, ...]
    events: int
    """Rows in the usage files, whatever becomes of them."""
    as_of: datetime = AS_OF
    """Build as of this instant; land as at this instant, too: then no clock has a say in the outcome."""
    period: BillingPeriod = PERIOD_TO_CLOSE
    """The month that is over and can be closed."""


@dataclass
class Sessions:
    """Runs of sandboxes as they really were, one element of each array a run."""

    customer: Ints
    starts_at: Ints
    ends_at: Ints
    size: Ints
    sandbox: Ints
    """Number of the sandbox: some are started again."""

    def take(self, chosen: Ints | Flags) -> Sessions:
        return Sessions(*(values[chosen] for values in vars(self).values()))

    def join(self, other: Sessions) -> Sessions:
        return Sessions(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


def generate(folder: Path, seed: int = 1) -> DemoFiles:
    """Write the demo's files into `folder` (made if need be). The same seed gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cast = make_cast(rng, STARTS_AT)
    sessions = _make_sessions(rng, cast)
    events = _make_events(rng, cast, sessions)
    rows, usage = _write_usage(folder, cast, events, seed)
    return DemoFiles(
        customers=(_write_customers(folder / "customers.csv", cast),),
        subscriptions=_write_subscriptions(folder, cast),
        credit_grants=(_write_credit_grants(folder / "credit_grants.jsonl", cast),),
        usage=usage,
        events=rows,
    )
