"""All collections that the models read."""

from __future__ import annotations

from pipeline.core.home import Home
from pipeline.store.alert_log import ALERTS, DELIVERIES
from pipeline.store.approvals import APPROVALS
from pipeline.store.closes import ensure_close_tables
from pipeline.store.collections import Collection
from pipeline.store.credit_notes import CREDIT_NOTES
from pipeline.store.publications import PUBLICATIONS
from pipeline.store.quarantine_settlements import SETTLEMENTS
from pipeline.store.raw import RAW
from pipeline.store.stripe_mirror import MIRROR

COLLECTIONS: tuple[Collection, ...] = (
    *RAW.values(),
    PUBLICATIONS,
    APPROVALS,
    SETTLEMENTS,
    *MIRROR.values(),
    CREDIT_NOTES,
    ALERTS,
    DELIVERIES,
)


def ensure_collections(home: Home) -> None:
    """Write the zero-row files of all collections, so that models find the columns of empty ones."""
    for collection in COLLECTIONS:
        collection.ensure(home)
    ensure_close_tables(home)
