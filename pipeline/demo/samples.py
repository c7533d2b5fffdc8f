"""Samples of the utilisation of sandboxes, one a minute, for the demo: a week of the sandboxes whose sessions a cluster reports.

The same events and seed give the same bytes. Most sandboxes use a fraction of their resources, some nearly all.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from pipeline.demo.events import CLUSTER, START

_FROM, _UNTIL = "2026-10-05", "2026-10-12"
_MOST_SANDBOXES = 250
_SHORTEST_MINUTES, _LONGEST_MINUTES = 10, 600

_SAMPLES = f"""
    with runs as (
        select
            sandbox_id,
            execution_id,
            min(event_at) as starts_at,
            max(event_at) as ends_at,
            coalesce(max(memory_gb::decimal(9, 2)), 1) as memory_gb,
            md5_number_lower(seed || '-use-' || sandbox_id) as draw
        from event_rows
        where collector = {CLUSTER} and event_at >= '{_FROM}' and event_at < '{_UNTIL}'
        group by sandbox_id, execution_id, seed
        having count(*) filter (where event_type = {START}) = 1 and count(*) > 1
            and max(event_at) - min(event_at) between interval {_SHORTEST_MINUTES} minutes and interval {_LONGEST_MINUTES} minutes
        order by draw, sandbox_id, execution_id
        limit {_MOST_SANDBOXES}
    ),

    minutes as (
        select *, unnest(range(0, (epoch(ends_at - starts_at) // 60)::bigint)) as minute from runs
    ),

    moved as (
        select *, md5_number_lower(draw || '-' || minute) % 10 as up from minutes
    )

    select
        sandbox_id,
        (starts_at + minute * interval 1 minute) at time zone 'UTC' as timestamp,
        -- Between 5 and 90 percent of its vCPUs on average, by sandbox, and up and down by minute.
        (least(95, 5 + draw % 60 + (draw // 64 % 4 = 0)::int * 25 + up))::decimal(9, 2) as cpu_used_pct,
        (memory_gb * 1073741824 * (10 + draw // 256 % 70 + up // 2) / 100)::bigint as mem_bytes
    from moved
    order by sandbox_id, execution_id, minute
"""


def write_samples(renderer: duckdb.DuckDBPyConnection, path: Path) -> Path:
    """Write the samples of the events that are registered as `event_rows`."""
    pq.write_table(renderer.sql(_SAMPLES).to_arrow_table(), path, compression="zstd")
    return path
