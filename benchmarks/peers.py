"""The same job in Polars and in pandas, as a good engineer would write it for these events.

These events have no late ones among them, no lost stops, and no session over midnight. Each peer reads the raw files, makes
pieces of sessions from them, and sums vCPU and memory by customer and day, in whole unit-microseconds. That is less than
Billhouse does: no limits, no prices, no invoices, no checks.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

_COLUMNS = ["sandbox_id", "user_id", "event_at", "event_type", "vcpu_count", "memory_gb"]


def usage_in_polars(folder: Path) -> tuple[float, str]:
    """Seconds, and the sums of each meter in unit-microseconds, as JSON."""
    import polars as pl

    started = time.perf_counter()
    events = pl.scan_parquet(str(folder / "raw" / "usage_events" / "event_date=*" / "*.parquet"), hive_partitioning=False)
    by_day = (
        events.select(_COLUMNS)
        .with_columns(
            pl.col("event_at").dt.epoch("us").alias("at"),
            pl.col("vcpu_count").cast(pl.Int64).alias("vcpu"),
            pl.col("memory_gb").cast(pl.Int64).alias("memory"),
        )
        .sort("sandbox_id", "at")
        .with_columns((pl.col("at").shift(-1).over("sandbox_id") - pl.col("at")).alias("lasts"))
        .filter(pl.col("event_type") != "sandbox_stopped")
        .group_by("user_id", (pl.col("at") // 86_400_000_000).alias("day"))
        .agg((pl.col("vcpu") * pl.col("lasts")).sum(), (pl.col("memory") * pl.col("lasts")).sum())
        .collect(engine="streaming")
    )
    sums = {"vcpu": int(by_day["vcpu"].sum()), "memory": int(by_day["memory"].sum())}
    return time.perf_counter() - started, json.dumps(sums, sort_keys=True)


def usage_in_pandas(folder: Path) -> tuple[float, str]:
    """Seconds, and the sums of each meter in unit-microseconds, as JSON."""
    import pandas as pd

    started = time.perf_counter()
    files = sorted((folder / "raw" / "usage_events").glob("event_date=*/*.parquet"))
    events = pd.concat([pd.read_parquet(file, columns=_COLUMNS, dtype_backend="pyarrow") for file in files], ignore_index=True)
    events = events.sort_values(["sandbox_id", "event_at"], ignore_index=True)
    at = events["event_at"].astype("int64[pyarrow]")
    lasts = at.groupby(events["sandbox_id"]).shift(-1) - at
    running = events["event_type"] != "sandbox_stopped"
    used = pd.DataFrame(
        {
            "customer": events["user_id"],
            "day": at // 86_400_000_000,
            "vcpu": events["vcpu_count"].astype("int64[pyarrow]") * lasts,
            "memory": events["memory_gb"].astype("int64[pyarrow]") * lasts,
        }
    )[running]
    by_day = used.groupby(["customer", "day"])[["vcpu", "memory"]].sum()
    sums = {"vcpu": int(by_day["vcpu"].sum()), "memory": int(by_day["memory"].sum())}
    return time.perf_counter() - started, json.dumps(sums, sort_keys=True)
