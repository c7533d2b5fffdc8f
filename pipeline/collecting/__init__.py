"""Collecting: what others keep (an events API, a queue's export, a metrics API) comes into the inbox, at least once.

Each source has a position of its own, kept after the rows that it stands for: a kill between the two brings those rows again, and
landing knows them. docs/collecting.md.
"""

from pipeline.collecting.api import Access
from pipeline.collecting.events import CursorPaging, LinkPaging, collect_events
from pipeline.collecting.exports import collect_export
from pipeline.collecting.metrics import poll_metrics
from pipeline.collecting.source import Collected

__all__ = ["Access", "Collected", "CursorPaging", "LinkPaging", "collect_events", "collect_export", "poll_metrics"]
