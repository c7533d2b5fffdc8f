"""Asset keys that several domains refer to."""

from __future__ import annotations

import dagster as dg

from pipeline.store.raw import SCHEMAS

RAW_KEYS = {collection: dg.AssetKey(["raw", collection]) for collection in SCHEMAS}
"""The raw collections: one per kind of record, the quarantine, and the landed files."""
