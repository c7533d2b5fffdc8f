"""What a build reads, told apart by digests, and which models read which part: so that a build repeats no more than it must.

Between two builds as of the same instant, most often only the ledger has grown: somebody approved, published or closed. What
hangs on none of that is as it would be built again. Which models those are is dbt's to say; here stand only the staging models
that each part goes in by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import duckdb

from pipeline.core.home import Home
from pipeline.core.settings import Settings
from pipeline.core.sql import parquet_files

READERS: Mapping[str, tuple[str, ...]] = {
    "ledger/approvals": ("stg_approvals",),
    "ledger/publications": ("stg_publications",),
    "ledger/credit_notes": ("stg_credit_note_lines",),
    "ledger/alerts": ("stg_alerts",),
    "ledger/alert_deliveries": ("stg_alert_deliveries",),
    "ledger/closes": (
        *("stg_closes", "stg_closed_invoices", "stg_closed_grants"),
        *("stg_billed_lines", "stg_billed_usage_days", "stg_credit_applications"),
    ),
    "raw/stripe/syncs": ("stg_stripe_syncs",),
    "stripe_mode": ("stg_stripe_mode",),
}
"""The parts that are added to without a new landing, and the models that read them. Mirrored objects count from their sync on."""


UNCHANGED_BY_A_CLOSE = ("stg_billed_currencies",)
"""Staging models that read the ledger and that a close changes nothing of for other models: it bills each month in the currency
that is in force already. They are read again when records land."""


def input_digests(home: Home, as_of: datetime, project: Path) -> dict[str, str]:
    """A SHA-256 of each part of what a build reads. Files never change once they are there, so their names tell."""
    return {
        "as_of": _sha256(as_of.isoformat()),
        "settings": _sha256(Settings.load().model_dump_json()),
        "project": project_digest(project, "seeds", "models", "macros", "tests/warehouse"),
        "engine": _sha256(duckdb.__version__),
        "raw/landed_files": _names(home, "raw/landed_files"),
        "stripe_mode": _sha256(str(_is_live(home))),
        **{part: _names(home, part) for part in READERS if part != "stripe_mode"},
    }


def input_fingerprint(digests: Mapping[str, str]) -> str:
    """One SHA-256 over all the parts, for the record."""
    return _sha256(*(f"{part}={digests[part]}" for part in sorted(digests)))


def project_digest(project: Path, *folders: str) -> str:
    """SHA-256 over the names and the text of all files in these folders of the project."""
    digest = hashlib.sha256()
    for path in (path for folder in folders for path in sorted((project / folder).rglob("*")) if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def code_version(project: Path) -> str:
    """SHA-256 over what turns the same inputs into the same bytes: models, macros and the engine's version."""
    return _sha256(project_digest(project, "models", "macros"), duckdb.__version__)


def models_to_refresh(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...] | None:
    """The staging models that read something new, of which all that depends on them is to be built; None: build everything."""
    changed = {part for part in before.keys() | now.keys() if before.get(part) != now.get(part)}
    if not changed or not changed <= READERS.keys():
        return None
    return tuple(model for part in sorted(changed) for model in READERS[part])


def definitions_stand(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether price book and views are as they would be made again: they hang on the project and the engine alone."""
    return all(part in before and before[part] == now[part] for part in ("project", "engine"))


def _names(home: Home, folder: str) -> str:
    return _sha256(*sorted(str(path.relative_to(home.path)) for path in (home.path / folder).rglob("*.parquet")))


def _is_live(home: Home) -> bool:
    """What `stg_stripe_mode` says: whether anything was ever published to, or mirrored from, Stripe's live mode."""
    folders = [home.publications, home.raw / "stripe" / "syncs"]
    modes = [
        f"select livemode from {parquet_files(folder, '**', '*.parquet')}" for folder in folders if any(folder.rglob("*.parquet"))
    ]
    if not modes:
        return False
    with duckdb.connect() as connection:
        found = connection.execute(f"select coalesce(bool_or(livemode), false) from ({' union all '.join(modes)})")
        return bool(found.fetchall()[0][0])


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
