"""Feeds: rows of APIs, exports of queues, buckets and databases are written to the inbox, each at least once.

Owns the connections to these systems, and the position in each source. A position is written after its rows: after a kill
between the two, those rows arrive twice, and landing drops the duplicates. It does not validate rows. docs/operate/collecting.md.
"""

from pipeline.feeds.access import Access
from pipeline.feeds.events import collect_by_offset, collect_events
from pipeline.feeds.export_files import collect_export
from pipeline.feeds.metrics import poll_latest_metrics, poll_metrics
from pipeline.feeds.objects import collect_objects
from pipeline.feeds.paging import CursorPaging, LinkPaging, OffsetPaging
from pipeline.feeds.position import Collected
from pipeline.feeds.running import poll_running

__all__ = [
    "Access",
    "Collected",
    "CursorPaging",
    "LinkPaging",
    "OffsetPaging",
    "collect_by_offset",
    "collect_events",
    "collect_export",
    "collect_objects",
    "poll_latest_metrics",
    "poll_metrics",
    "poll_running",
]
