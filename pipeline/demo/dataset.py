"""Writes the files that the demo lands: a month and a half of usage, customers, plans, credit grants, and samples of utilisation.

The same seed gives the same bytes. Four collectors write usage, each in its own format:

    gateway   a JSON Lines file a day: nested resources, CamelCase types, metadata
    edge      a CSV file a week: no event ids, local time with its offset
    cluster   a Parquet file a week: execution ids, resources on stops too
    ticker    a JSON Lines file a week: a heartbeat a minute that changes nothing
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.demo.customers import WITHOUT_RECORDS, Cast, PlanRecord, make_cast
from pipeline.demo.events import (
    ALL_NAMED,
    AS_OF,
    CLUSTER,
    COLLECTORS,
    DAYS,
    EDGE,
    FILE_DAYS,
    NONE_NAMED,
    OUTAGE_DAY,
    OUTAGE_FILE,
    SIZES,
    START,
    STARTS_AT,
    Events,
    simulate,
)
from pipeline.demo.samples import write_samples
from pipeline.landing.record_kinds import Kind

PERIOD_TO_CLOSE = BillingPeriod(2026, 9)
LATE_FILE_LANDS_ON_DAY = 34.5
"""Days after STARTS_AT: after the gateway's first files of October."""

MALFORMED = {
    "gateway-2026-09-09": (
        '{"event_id":"evt_no_sandbox","user_id":"acme-robotics","timestamp":"2026-09-09T10:00:00Z",'
        '"event_type":"SandboxStarted","resources":{"vcpu_count":2,"memory_gb":0.5,"storage_gb":1}}',
        '{"event_id":"evt_no_such_day","sandbox_id":"sbx_b001","user_id":"acme-robotics",'
        '"timestamp":"2026-09-31T10:00:00Z","event_type":"SandboxStarted"}',
        '{"event_id":"evt_no_such_type","sandbox_id":"sbx_b002","user_id":"acme-robotics",'
        '"timestamp":"2026-09-09T10:00:02Z","event_type":"SandboxPaused"}',
        '{"event_id":"evt_cut_off","sandbox_id":"sbx_b003","user_id":"acme-rob',
    ),
    "gateway-2026-09-16": (
        '{"event_id":"evt_from_the_future","sandbox_id":"sbx_b004","user_id":"acme-robotics",'
        '"timestamp":"2126-09-16T10:00:00Z","event_type":"SandboxStarted","resources":{"vcpu_count":2}}',
        '{"event_id":"evt_huge","sandbox_id":"sbx_b005","user_id":"acme-robotics",'
        '"timestamp":"2026-09-16T10:00:00Z","event_type":"SandboxStarted","resources":{"vcpu_count":1e30}}',
    ),
    "edge-2026-09-08": (
        "sbx_b006,acme-robotics,2026-09-12T10:00:00+02:00,sandbox_started,NaN,0.5,1",
        "sbx_b007,acme-robotics,2026-09-12T10:00:01+02:00,sandbox_started,two,0.5,1",
        "sbx_b008,acme-robotics,12.09.2026 10:00,sandbox_started,2,0.5,1",
        ",acme-robotics,2026-09-12T10:00:03+02:00,sandbox_started,2,0.5,1",
    ),
}
"""Rows that cannot be billed, by the file in whose middle they are inserted."""

EVENT_ROWS = f"""
    create view event_rows as
    select
        events.*,
        'evt_' || left(md5(seed || '-event-' || number), 20) as event_id,
        case when sandbox >= 0 then 'sbx_' || left(md5(seed || '-sandbox-' || sandbox), 12) end as sandbox_id,
        'run_' || left(md5(seed || '-run-' || run), 12) as execution_id,
        customers.customer_id as user_id,
        make_timestamp({STARTS_AT.timestamp():.0f}000000 + events.at) as event_at,
        ['sandbox_started', 'resources_updated', 'sandbox_stopped'][event_type + 1] as snake_type,
        ['SandboxStarted', 'ResourcesUpdated', 'SandboxStopped'][event_type + 1] as camel_type,
        case when named <> {NONE_NAMED} then sizes.vcpu_count end as vcpu_count,
        case when named <> {NONE_NAMED} then sizes.memory_gb end as memory_gb,
        case when named = {ALL_NAMED} then sizes.storage_gb end as storage_gb
    from events
    inner join customers on events.customer = customers.place
    inner join sizes on events.size = sizes.place
"""
NAMED_RESOURCES = """concat_ws(',',
    '"vcpu_count":' || vcpu_count, '"memory_gb":' || memory_gb, '"storage_gb":' || storage_gb)"""
LINES = {
    "gateway": f"""
        '{{"event_id":"' || event_id || '","sandbox_id":"' || sandbox_id || '","user_id":"' || user_id
        || '","timestamp":"' || strftime(event_at, '%Y-%m-%dT%H:%M:%S.%fZ') || '","event_type":"' || camel_type || '"'
        || case when vcpu_count is not null then ',"resources":{{' || {NAMED_RESOURCES} || '}}' else '' end
        || case when event_type = {START} then ',"metadata":{{"region":"eu-1","template":"python-3.12"}}' else '' end
        || '}}'""",
    "edge": """
        sandbox_id || ',' || user_id || ',' || strftime(event_at + interval 2 hours, '%Y-%m-%dT%H:%M:%S.%f+02:00')
        || ',' || snake_type || ',' || coalesce(vcpu_count, '') || ',' || coalesce(memory_gb, '')
        || ',' || coalesce(storage_gb, '')""",
    "ticker": f"""
        '{{' || concat_ws(',', '"event_id":"' || event_id || '"', '"sandbox_id":"' || sandbox_id || '"',
            '"user_id":"' || user_id || '"', '"timestamp":"' || strftime(event_at, '%Y-%m-%dT%H:%M:%S.%gZ') || '"',
            '"event_type":"' || snake_type || '"', nullif({NAMED_RESOURCES}, '')) || '}}'""",
}
"""SQL for the text of an event in each collector's files."""
EDGE_HEADER = "sandbox_id,user_id,timestamp,event_type,vcpu_count,memory_gb,storage_gb"
CLUSTER_COLUMNS = f"""
    event_id, sandbox_id, user_id, event_at at time zone 'UTC' as timestamp, snake_type as event_type,
    cast(vcpu_count as decimal(18, 6)) as vcpu_count, cast(memory_gb as decimal(18, 6)) as memory_gb,
    cast(storage_gb as decimal(18, 6)) as storage_gb, execution_id,
    case when event_type = {START} then '{{"pool":"cluster-1"}}' end as metadata"""


@dataclass(frozen=True)
class DemoFiles:
    """The demo's files by kind, each in the order to land them, and when to build and what to close."""

    folder: Path
    customers: tuple[Path, ...]
    subscriptions: tuple[Path, ...]
    credit_grants: tuple[Path, ...]
    usage: tuple[Path, ...]
    metrics: tuple[Path, ...]
    as_of: datetime = AS_OF
    """Build as of this instant, so that the result does not depend on the clock."""
    period: BillingPeriod = PERIOD_TO_CLOSE
    """The month to close: it is over at `as_of`."""

    @property
    def landings(self) -> tuple[tuple[Kind, tuple[Path, ...]], ...]:
        """The files to land by kind, in order."""
        return (
            (Kind.CUSTOMERS, self.customers),
            (Kind.SUBSCRIPTIONS, self.subscriptions),
            (Kind.CREDIT_GRANTS, self.credit_grants),
            (Kind.USAGE, self.usage),
            (Kind.METRICS, self.metrics),
        )


def generate(folder: Path, seed: int = 1, *, on_progress: OnProgress | None = None) -> DemoFiles:
    """Write the demo's files into `folder`, in a private subfolder for each kind. The same seed gives the same bytes.

    Usage is from 1 September to 15 October 2026: at `as_of`, September can be closed and October is a draft.
    """
    for kind in Kind:
        (folder / kind).mkdir(mode=0o700, parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cast = make_cast(rng, STARTS_AT)
    plans = folder / Kind.SUBSCRIPTIONS
    usage, metrics = _write_usage(folder, cast, simulate(rng, cast), seed, on_progress)
    return DemoFiles(
        folder=folder,
        customers=(_write_customers(folder / Kind.CUSTOMERS / "customers.csv", cast),),
        subscriptions=(
            _write_subscriptions(plans / "subscriptions.jsonl", cast.subscriptions),
            _write_subscriptions(plans / "subscriptions-corrected-2026-10-02.jsonl", cast.corrections),
        ),
        credit_grants=(_write_credit_grants(folder / Kind.CREDIT_GRANTS / "credit_grants.jsonl", cast),),
        usage=usage,
        metrics=(metrics,),
    )


def _write_customers(path: Path, cast: Cast) -> Path:
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(["customer_id", "name", "email", "currency", "stripe_customer_id", "monthly_spend_limit", "created_at"])
    for person in cast.customers[WITHOUT_RECORDS:]:
        limit = "" if person.monthly_spend_limit is None else str(person.monthly_spend_limit)
        created_at = _iso(person.signed_up_at)
        lines.writerow([person.customer_id, person.name, person.email, "USD", "", limit, created_at])
    path.write_bytes(text.getvalue().encode())
    return path


def _write_subscriptions(path: Path, records: Iterable[PlanRecord]) -> Path:
    return _write_json_lines(
        path,
        (
            {
                "customer_id": record.customer_id,
                "plan_id": record.plan_id,
                "effective_at": _iso(record.effective_at),
            }
            for record in records
        ),
    )


def _write_credit_grants(path: Path, cast: Cast) -> Path:
    pro = [person.customer_id for person in cast.customers if person.plan_id == "pro"]
    grants = (
        ("grant-conference-1", pro[0], "50.00", "usage", "promotional", 4, 90),
        ("grant-conference-2", pro[7], "50.00", "usage", "promotional", 4, 90),
        ("grant-outage-1", pro[12], "25.00", "all", "goodwill", 31, None),
    )
    return _write_json_lines(
        path,
        (
            {
                "grant_id": grant_id,
                "customer_id": customer_id,
                "amount": amount,
                "currency": "USD",
                "priority": 10,
                "granted_at": _iso(STARTS_AT + timedelta(days=day)),
                "expires_at": None if lasts is None else _iso(STARTS_AT + timedelta(days=day + lasts)),
                "scope": scope,
                "source": source,
            }
            for grant_id, customer_id, amount, scope, source, day, lasts in grants
        ),
    )


def _write_usage(
    folder: Path, cast: Cast, events: Events, seed: int, on_progress: OnProgress | None
) -> tuple[tuple[Path, ...], Path]:
    """Write every collector's files, and return them in the order in which they would arrive; then the samples."""
    arriving: list[tuple[float, int, Path]] = []
    with duckdb.connect() as renderer:
        _register(renderer, cast, events, seed)
        to_write = np.unique(np.stack([events.collector, events.file]), axis=1).T.tolist()
        for done, (collector, file) in enumerate(to_write, start=1):
            path = _write_usage_file(renderer, folder / Kind.USAGE, collector, file)
            last_day = min((file + 1) * int(FILE_DAYS[collector]), DAYS)
            arriving.append((LATE_FILE_LANDS_ON_DAY if file == OUTAGE_FILE else last_day, collector, path))
            if on_progress:
                on_progress(path.name, done, len(to_write))
        metrics = write_samples(renderer, folder / Kind.METRICS / "samples.parquet")
    return tuple(path for _, _, path in sorted(arriving)), metrics


def _register(renderer: duckdb.DuckDBPyConnection, cast: Cast, events: Events, seed: int) -> None:
    """Register the events in DuckDB, with the tables that their numbers refer to."""
    renderer.execute("set TimeZone = 'UTC'")
    vcpu, memory, storage = zip(*SIZES, strict=True)
    tables: dict[str, dict[str, Any]] = {
        "events": {"position": np.arange(len(events)), "seed": np.full(len(events), seed), **vars(events)},
        "customers": {
            "place": range(len(cast.customers)),
            "customer_id": [person.customer_id for person in cast.customers],
        },
        "sizes": {"place": range(len(SIZES)), "vcpu_count": vcpu, "memory_gb": memory, "storage_gb": storage},
    }
    for name, columns in tables.items():
        renderer.register(name, pa.table(columns))
    renderer.execute(EVENT_ROWS)


def _write_usage_file(renderer: duckdb.DuckDBPyConnection, folder: Path, collector: int, file: int) -> Path:
    name = COLLECTORS[collector]
    is_late = file == OUTAGE_FILE
    day = STARTS_AT + timedelta(days=OUTAGE_DAY if is_late else file * int(FILE_DAYS[collector]))
    stem = f"{name}-{day:%Y-%m-%d}" + ("-late" if is_late else "")
    selected = CLUSTER_COLUMNS if collector == CLUSTER else LINES[name]
    rows = renderer.sql(
        f"select {selected} from event_rows where collector = ? and file = ? order by position",
        params=[collector, file],
    )
    if collector == CLUSTER:
        path = folder / f"{stem}.parquet"
        pq.write_table(rows.to_arrow_table(), path, compression="zstd")
        return path
    lines = [line for (line,) in rows.fetchall()]
    middle = len(lines) // 2
    lines[middle:middle] = MALFORMED.get(stem, ())
    if collector == EDGE:
        return _write_text(folder / f"{stem}.csv", [EDGE_HEADER, *lines])
    return _write_text(folder / f"{stem}.jsonl.gz", lines)


def _write_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    return _write_text(path, [json.dumps(record, ensure_ascii=False) for record in records])


def _write_text(path: Path, lines: list[str]) -> Path:
    """Write lines in UTF-8; for a .gz path compressed, without a time of writing."""
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content, compresslevel=6, mtime=0) if path.suffix == ".gz" else content)
    return path


def _iso(instant: datetime) -> str:
    """'2026-09-01T00:00:00Z'; whole seconds without a fraction."""
    return instant.isoformat().replace("+00:00", "Z")
