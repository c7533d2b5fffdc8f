"""Digests of each input of a build, and the staging models that read each input, so that a build runs only what changed.

Between two builds as of the same instant, usually only the ledger has grown: an approval, a publication, a close. Models that do
not depend on the ledger are then not run again. dbt knows which models depend on a staging model; this module knows which staging
models read an input.
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
"""Inputs that grow without a landing, and the staging models that read each. A mirrored object takes effect with its sync."""

UNCHANGED_BY_A_CLOSE = ("stg_billed_currencies",)
"""Staging models that read the ledger, but whose rows a close does not change for other models: a close bills a month in the
currency that is already in force. They are refreshed when records land."""


def input_digests(home: Home, as_of: datetime, project: Path) -> dict[str, str]:
    """A SHA-256 of each input of a build. Files are never changed after they were written, so their names are enough."""
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
    """One SHA-256 over all inputs, recorded in a close."""
    return _sha256(*(f"{part}={digests[part]}" for part in sorted(digests)))


def project_digest(project: Path, *folders: str) -> str:
    """SHA-256 over the names and the text of all files in these folders of the project."""
    digest = hashlib.sha256()
    for path in (path for folder in folders for path in sorted((project / folder).rglob("*")) if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def code_version(project: Path) -> str:
    """SHA-256 over models, macros and the engine's version: an incremental build reuses rows only where it is unchanged."""
    return _sha256(project_digest(project, "models", "macros"), duckdb.__version__)


def models_to_refresh(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...] | None:
    """The staging models whose inputs changed, to be built with everything that depends on them; None: build everything."""
    changed = {part for part in before.keys() | now.keys() if before.get(part) != now.get(part)}
    if not changed or not changed <= READERS.keys():
        return None
    return tuple(model for part in sorted(changed) for model in READERS[part])


def are_definitions_unchanged(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether seeds and views can be reused: they depend only on the project's files and the engine's version."""
    return all(part in before and before[part] == now[part] for part in ("project", "engine"))


def _names(home: Home, folder: str) -> str:
    return _sha256(*sorted(str(path.relative_to(home.path)) for path in (home.path / folder).rglob("*.parquet")))


def _is_live(home: Home) -> bool:
    """As in `stg_stripe_mode`: whether anything was ever published to, or mirrored from, Stripe's live mode."""
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
