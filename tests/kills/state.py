"""What two homes must have in common after the same commands, however often one of them was killed on the way.

Files are compared to the byte where the clock and chance left no mark on them. Where they did, rows are compared without the
columns that hold instants of the run and what is derived from them, and names with those parts masked.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, TypeVar

import duckdb
import pyarrow.parquet as pq

from pipeline.core.home import Home
from pipeline.core.sql import quoted
from pipeline.landing.index_state import landing_totals
from pipeline.landing.landing_totals import LandingTotals

VOLATILE_COLUMNS = frozenset(
    [
        *("closed_at", "landed_at", "decided_at", "published_at", "recorded_at", "raised_at", "tried_at", "issued_at"),
        "settled_at",
        *("started_at", "events_through", "synced_at", "approved_at", "finalized_at", "due_at", "paid_at", "created_at"),
        *("content_hash", "previous_hash", "input_fingerprint", "sync_id", "idempotency_key", "credit_note_id", "document_id"),
        *("stripe_id", "stripe_customer_id", "stripe_invoice_id", "stripe_invoice_number", "stripe_credit_note_id"),
        *("hosted_invoice_url", "invoice_number", "written_by", "built_by", "computed_at"),
    ]
)
_MASKS = (
    (re.compile(r"\d{8}T\d{12}"), "<instant>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d+(\+00:00|Z)?"), "<instant>"),
    (re.compile(r"(?<=\.export-)[a-z0-9_]{8}|(?<=/tmp)[a-z0-9_]{8}\b"), "<id>"),
    (re.compile(r"CN-[0-9A-F]{12}"), "CN-<id>"),
    (re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{32}\b"), "<hash>"),
    (re.compile(r"-[0-9a-f]{8}(?=\.)"), "-<id>"),
    (re.compile(r'"steps": \d+'), '"steps": <number>'),  # of a build: more where the one before it was killed
    (re.compile(r'"seconds": [\d.]+'), '"seconds": <number>'),  # of a build
    (re.compile(r"(_timestamp_seconds(?:\{.*\})?) .*"), r"\1 <instant>"),
    (re.compile(r"(billhouse_(?:build_seconds|disk_free_bytes)) .*"), r"\1 <number>"),
)
_STRIPE_MASKS = (
    (re.compile(r"\b(?:[a-z]+_)+[A-Za-z0-9]{14,}\b"), "<id>"),
    (re.compile(r"\b1[789]\d{8}\b"), "<instant>"),
    (re.compile(r'"(number|invoice_prefix|idempotency_key)": "[^"]*"'), r'"\1": "<id>"'),
)
_DATABASES = (
    "billhouse.duckdb",
    "warehouse.duckdb",
    "stripe-emulator.sqlite",
    "stripe-emulator.sqlite-wal",
    "stripe-emulator.sqlite-shm",
)
"""Of the analysts' copy and of the emulator the rows are compared; the warehouse also keeps what its last build had to do."""
_MERGED = ("ledger/publications", "ledger/alerts", "ledger/alert_deliveries", "raw/stripe/syncs")
"""Folders of which the rows are compared, not the files: a run that is killed and one that goes on write a file each."""

_memory: dict[str, Any] = {}
Read = TypeVar("Read")
State = Counter[tuple[str, str]]
"""Every (name, digest of the contents), masked; how often it is there."""


def state_of(home: Path) -> State:
    """Everything in a home that must not depend on when a command was killed."""
    state: State = Counter()
    merged: dict[str, list[str]] = {}
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if _is_ignored(path, name):
            continue
        folder = str(path.parent.relative_to(home))
        if path.is_dir():
            state[masked(name), "folder"] += 1
        elif folder in _MERGED and path.suffix == ".parquet":
            merged.setdefault(folder, []).extend(_rows(path))
        else:
            state[masked(name), _remembered(path, _digest)] += 1
    for folder, rows in merged.items():
        for row in rows:
            state[folder, row] += 1
    if (home / "billhouse.duckdb").exists():
        state.update(_remembered(home / "billhouse.duckdb", _tables))
    if (home / "landing-index").exists():
        state["landing-index", str(_landing_totals(home))] += 1
    if (home / "stripe-emulator.sqlite").exists():
        state.update(_stripe_objects(home / "stripe-emulator.sqlite"))
    return state


def _landing_totals(home: Path) -> LandingTotals | None:
    totals = landing_totals(Home(home))
    return replace(totals, last_landed_at="") if totals is not None else None


def differences(found: State, expected: State) -> list[str]:
    """What is not in both, in words."""
    more, missing = found - expected, expected - found
    changed = {name for name, _ in more} & {name for name, _ in missing}
    lines = [f"differs: {name}" for name in sorted(changed)]
    lines += [f"left over: {name} {shown(what)}" for name, what in sorted(more) if name not in changed]
    lines += [f"missing: {name} {shown(what)}" for name, what in sorted(missing) if name not in changed]
    return lines


def shown(what: str) -> str:
    return "" if re.fullmatch(r"[0-9a-f]{64}|folder", what) else what[:300]


def leftovers(home: Path) -> list[str]:
    """Files that only a command at work may have: all that is in .tmp/ but locks, and what is named as unfinished anywhere."""
    names = {path: str(path.relative_to(home)) for path in sorted(home.rglob("*")) if not path.is_dir()}
    return [name for path, name in names.items() if _is_unfinished(path, name)]


def masked(text: str) -> str:
    """Without the instants and the random parts of names."""
    for mask, put in _MASKS:
        text = mask.sub(put, text)
    return text


def _is_unfinished(path: Path, name: str) -> bool:
    if _is_lock(path) or name.startswith(".dbt/"):
        return False
    parts = PurePath(name).parts
    is_named_so = any((part.startswith(".") and part.endswith(".tmp")) or part.startswith(".export-") for part in parts)
    return is_named_so or path.suffix in (".tmp", ".wal")


def _is_lock(path: Path) -> bool:
    return path.name.endswith(".lock")


def _is_ignored(path: Path, name: str) -> bool:
    if name == "landing-index" or name.startswith("landing-index/"):  # derived: its totals are compared
        return True
    if name.startswith(".dbt") or _is_lock(path) or name in _DATABASES or (not path.is_dir() and _is_unfinished(path, name)):
        return True
    if name == "ledger/manifest.jsonl":  # `verify` compares it with the files
        return True
    # Steps that were begun and not recorded as done are taken again; what came of them is compared in Stripe.
    return name.startswith("ledger/outbox/") and path.suffix == ".parquet"


def _contents(path: Path) -> bytes:
    if path.suffix == ".parquet":
        return "\n".join(_rows(path)).encode()
    contents = path.read_bytes()
    if path.suffix in (".json", ".txt", ".prom", ".jsonl") or path.name == "SHA256SUMS":
        return masked(contents.decode()).encode()
    if path.suffix == ".xlsx":  # but for when it was made
        with zipfile.ZipFile(path) as parts:
            return b"\n".join(
                name.encode() + b"\n" + parts.read(name) for name in sorted(parts.namelist()) if name != "docProps/core.xml"
            )
    return contents


def _rows(path: Path) -> list[str]:
    rows = pq.ParquetFile(path).read()
    rows = rows.drop_columns([name for name in rows.column_names if name in VOLATILE_COLUMNS])
    found = rows.to_pylist()
    if path.parent.name == "syncs":  # a sync that is called again when all is mirrored says that there was nothing
        found = [row for row in found if row["objects"]]
    if path.parent.name == "alerts":  # one about Billhouse itself is reached when it is raised
        found = [row | {"reached_at": row["reached_at"] if row["customer_id"] else None} for row in found]
    if "body" in rows.column_names:
        found = [row | {"body": _masked_body(row["body"])} for row in found]
    return sorted(masked(str(row)) for row in found)


def _tables(database: Path) -> State:
    """A digest of every table's rows, independent of their order."""
    state: State = Counter()
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"attach {quoted(database)} as compared (read_only)")
        in_it = "database_name = 'compared'"
        tables = connection.execute(
            f"select schema_name, table_name from duckdb_tables() where {in_it} and schema_name <> 'written' order by all"
        ).fetchall()
        for schema, table in tables:
            names = connection.execute(
                "select column_name from duckdb_columns()"
                f" where {in_it} and schema_name = ? and table_name = ? order by column_name",
                [schema, table],
            ).fetchall()
            # The id of a credit note is a hash that includes the instant, and occurs in texts.
            columns = [f"regexp_replace(\"{name}\"::varchar, 'CN-[0-9A-F]{{12}}', 'CN', 'g')" for (name,) in names]
            columns = [column for column, (name,) in zip(columns, names, strict=True) if name not in VOLATILE_COLUMNS]
            digest = connection.execute(
                f'select count(*), sum(hash({", ".join(columns)})) from compared."{schema}"."{table}"'
                if columns
                else "select 0, 0"
            ).fetchall()
            state[f"{database.name}: {schema}.{table}", str(digest[0])] += 1
    return state


def _stripe_objects(database: Path) -> State:
    state: State = Counter()
    connection = sqlite3.connect(database)
    try:
        for kind, body in connection.execute("select kind, body from objects"):
            state[f"stripe: {kind}", _masked_body(body)] += 1
    finally:
        connection.close()
    return state


def _masked_body(body: str) -> str:
    text = json.dumps(json.loads(body), sort_keys=True)
    for mask, put in _STRIPE_MASKS:
        text = mask.sub(put, text)
    return masked(text)


def _digest(path: Path) -> str:
    return hashlib.sha256(_contents(path)).hexdigest()


def _remembered(path: Path, read: Callable[[Path], Read]) -> Read:
    """What was read of a file, or of another one of its kind and contents: most are as they were before the command."""
    key = f"{path.parent.name} {path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    if key not in _memory:
        _memory[key] = read(path)
    found: Read = _memory[key]
    return found
