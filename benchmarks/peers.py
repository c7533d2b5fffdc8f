"""The same calculation in Polars and in pandas, written for one product and one price list.

Raw events to invoices by the billing rules, sections 3 to 7, for data with these restrictions: all customers on the hobby plan in
US dollars, unique ids, no two events of a sandbox at one instant, integer resources named by every start, no heartbeat timeout.
Sessions start, change, stop, overlap, or end at the plan's limit; usage is split at midnight; months are priced, rounded and
credited in order. Limits, reports, corrections and checks are not included.

Both read every row once, in order, and continue with the rows that change something.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

_COLUMNS = ["sandbox_id", "user_id", "event_at", "event_type", "vcpu_count", "memory_gb", "storage_gb"]
_HELD = _COLUMNS[4:]
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_LONGEST = 3600 * _SECOND
_PRICES = {"vcpu_count": Decimal("0.000014"), "memory_gb": Decimal("0.0000045"), "storage_gb": Decimal("0.00000003")}
_FREE_STORAGE_GB = 10
_CREDIT = Decimal(100)
_CENT = Decimal("0.01")


def invoices_in_polars(folder: Path, as_of: datetime) -> tuple[float, str]:
    """Seconds, and the sums of the invoices as JSON."""
    import polars as pl

    started = time.perf_counter()
    same_sandbox = pl.col("sandbox_id") == pl.col("sandbox_id").shift(1)
    is_start, is_stop = pl.col("event_type") == "sandbox_started", pl.col("event_type") == "sandbox_stopped"
    changes = (
        pl.scan_parquet(str(folder / "raw" / "usage_events" / "event_date=*" / "*.parquet"), hive_partitioning=False)
        .select(
            "sandbox_id",
            "user_id",
            pl.col("event_at").dt.epoch("us").alias("at"),
            is_start.alias("is_start"),
            is_stop.alias("is_stop"),
            *(pl.col(held).cast(pl.Int64) for held in _HELD),
        )
        .sort("sandbox_id", "at")
        .filter(
            pl.col("is_start")
            | pl.col("is_stop")
            | same_sandbox.fill_null(value=False).not_()
            | (pl.col("sandbox_id") != pl.col("sandbox_id").shift(-1)).fill_null(value=True)
            | pl.any_horizontal(pl.col(held).ne_missing(pl.col(held).shift(1)) for held in _HELD)
        )
        .collect(engine="streaming")
        .lazy()
    )
    sessions = (
        changes.with_columns((pl.col("is_start") | same_sandbox.fill_null(value=False).not_()).alias("opens"))
        .with_columns(
            pl.col("opens").cum_sum().alias("session"), pl.col("is_stop").shift(1).cum_sum().fill_null(0).alias("stops")
        )
        # After a stop only a start opens a session; events between them belong to none.
        .filter(pl.col("stops") == pl.col("stops").first().over("session"))
    )
    pieces = (
        sessions.with_columns(
            *(pl.col(held).forward_fill() for held in _HELD),
            pl.col("at").shift(-1).over("session").alias("next_at"),
            (pl.col("at").first().over("session") + _LONGEST).alias("limit_at"),
            pl.when(same_sandbox.shift(-1)).then(pl.col("at").shift(-1)).alias("next_start_at"),
        )
        .filter(~pl.col("is_stop"))
        .with_columns(
            pl.coalesce(
                "next_at",
                pl.min_horizontal("next_start_at", pl.max_horizontal("limit_at", "at"), pl.lit(_microseconds(as_of))),
            ).alias("until")
        )
    )
    by_day = (
        pieces.with_columns(pl.int_ranges(pl.col("at") // _DAY, (pl.col("until") - 1) // _DAY + 1).alias("day"))
        .filter(pl.col("until") > pl.col("at"))
        .explode("day")
        .with_columns(
            (pl.min_horizontal("until", (pl.col("day") + 1) * _DAY) - pl.max_horizontal("at", pl.col("day") * _DAY)).alias(
                "lasts"
            )
        )
        .group_by("user_id", "day")
        .agg(*((pl.col(held) * pl.col("lasts")).sum() for held in _HELD), pl.col("at").min())
        .collect()
    )
    sums = _invoiced(by_day.select("user_id", "day", "at", *_HELD).iter_rows())
    return time.perf_counter() - started, sums


def invoices_in_pandas(folder: Path, as_of: datetime) -> tuple[float, str]:
    """Seconds, and the sums of the invoices as JSON."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    started = time.perf_counter()
    files = sorted((folder / "raw" / "usage_events").glob("event_date=*/*.parquet"))
    events = pd.concat([pd.read_parquet(file, columns=_COLUMNS, dtype_backend="pyarrow") for file in files], ignore_index=True)
    # From about 50 million rows on, the text exceeds 32-bit offsets.
    text = ["sandbox_id", "user_id"]
    events[text] = events[text].astype(pd.ArrowDtype(pa.large_string()))
    events = events.sort_values(["sandbox_id", "event_at"], ignore_index=True)
    events["is_start"] = (events["event_type"] == "sandbox_started").to_numpy(bool)
    events["is_stop"] = (events["event_type"] == "sandbox_stopped").to_numpy(bool)
    sandbox = events["sandbox_id"]
    is_first = (sandbox != sandbox.shift(1)).fillna(value=True).to_numpy(bool)
    is_told = events["is_start"].to_numpy() | events["is_stop"].to_numpy() | is_first | np.append(is_first[1:], True)
    for held in _HELD:
        # Through Arrow, because pandas alone would make a Python object of each decimal.
        value = events[held].astype("double[pyarrow]").to_numpy("float64", na_value=np.nan)
        events[held] = value
        is_told[1:] |= (value[1:] != value[:-1]) & ~(np.isnan(value[1:]) & np.isnan(value[:-1]))
    changes = events[is_told].reset_index(drop=True)
    del events
    sandbox = changes["sandbox_id"]
    is_first = (sandbox != sandbox.shift(1)).fillna(value=True).to_numpy(bool)
    changes["at"] = changes["event_at"].astype("int64[pyarrow]").astype("int64")
    changes["opens"] = changes["is_start"] | is_first
    changes["session"] = changes["opens"].cumsum()
    stops = changes["is_stop"].cumsum() - changes["is_stop"]
    # After a stop only a start opens a session; events between them belong to none.
    changes = changes[stops == stops.groupby(changes["session"]).transform("first")].reset_index(drop=True)
    changes[_HELD] = changes[_HELD].ffill().astype("int64")
    same_session = (changes["session"] == changes["session"].shift(-1)).to_numpy(bool)
    same_sandbox = (changes["sandbox_id"] == changes["sandbox_id"].shift(-1)).fillna(value=False).to_numpy(bool)
    at = changes["at"].to_numpy()
    next_at = np.append(at[1:], 0)
    forever = np.iinfo(np.int64).max
    limit_at = changes["at"].groupby(changes["session"]).transform("first").to_numpy() + _LONGEST
    inferred = np.minimum(np.where(same_sandbox, next_at, forever), np.minimum(np.maximum(limit_at, at), _microseconds(as_of)))
    changes["until"] = np.where(same_session, next_at, inferred)
    pieces = changes[~changes["is_stop"] & (changes["until"] > changes["at"])]
    days = ((pieces["until"] - 1) // _DAY - pieces["at"] // _DAY + 1).to_numpy()
    split = pieces.loc[pieces.index.repeat(days), ["user_id", "at", "until", *_HELD]]
    split["day"] = split["at"] // _DAY + split.groupby(level=0).cumcount()
    lasts = np.minimum(split["until"], (split["day"] + 1) * _DAY) - np.maximum(split["at"], split["day"] * _DAY)
    for held in _HELD:
        split[held] = split[held] * lasts
    by_day = split.groupby(["user_id", "day"], as_index=False).agg({"at": "min"} | dict.fromkeys(_HELD, "sum"))
    sums = _invoiced(by_day[["user_id", "day", "at", *_HELD]].itertuples(index=False, name=None))
    return time.perf_counter() - started, sums


def _invoiced(days: Iterable[tuple[str, int, int, int, int, int]]) -> str:
    """The sums of all invoices. `days`: (customer, day, first instant of usage, a sum for each resource)."""
    used: dict[str, dict[tuple[int, int], list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    first_at: dict[str, int] = {}
    for customer, day, at, *sums in days:
        on = datetime.fromtimestamp(day * 86_400, UTC)
        month = used[customer][on.year, on.month]
        for place, microseconds in enumerate(sums):
            month[place] += microseconds
        first_at[customer] = min(at, first_at.get(customer, at))
    subtotal = credited = Decimal(0)
    for customer, months in used.items():
        credit = _CREDIT
        for (year, number), used_microseconds in sorted(months.items()):
            starts_at = _microseconds(datetime(year, number, 1, tzinfo=UTC))
            ends_at = _microseconds(datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC))
            free = _FREE_STORAGE_GB * (ends_at - max(starts_at, first_at[customer]))
            billable = [*used_microseconds[:2], max(used_microseconds[2] - free, 0)]
            due = sum(
                (
                    (Decimal(quantity) / _SECOND * price).quantize(_CENT, ROUND_HALF_UP)
                    for quantity, price in zip(billable, _PRICES.values(), strict=True)
                ),
                Decimal(0),
            )
            applied = min(credit, due)
            credit -= applied
            subtotal += due
            credited += applied
    return sums_as_json(subtotal, credited, subtotal - credited)


def sums_as_json(subtotal: Decimal, credits: Decimal, total: Decimal) -> str:
    """The sums of all invoices in dollars, in the format in which results are compared."""
    return json.dumps({"subtotal": f"{subtotal:.2f}", "credits": f"{credits:.2f}", "total": f"{total:.2f}"})


def _microseconds(instant: datetime) -> int:
    return int(instant.timestamp()) * _SECOND
