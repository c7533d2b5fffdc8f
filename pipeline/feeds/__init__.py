"""Collecting: what others keep (an events API, a queue's export, a metrics API) comes into the inbox, at least once.

Each source has a position of its own, kept after the rows that it stands for: a kill between the two brings those rows again, and
landing knows them. docs/operate/collecting.md.
"""

from pipeline.feeds.api import Access
from pipeline.feeds.events import CursorPaging, LinkPaging, collect_events
from pipeline.feeds.export_files import collect_export
from pipeline.feeds.metrics import poll_metrics
from pipeline.feeds.position import Collected

__all__ = ["Access", "Collected", "CursorPaging", "LinkPaging", "collect_events", "collect_export", "poll_metrics"]
