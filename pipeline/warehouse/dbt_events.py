"""dbt's events in a build: those for debugging are dropped before dbt formats and writes them, a sixth of a small build."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_debug_events() -> Iterator[None]:
    """Drop dbt's events of the level debug inside a block. The log of a build has the level info: they are not in it anyway."""
    from dbt_common.events.base_types import EventLevel
    from dbt_common.events.event_manager import EventManager
    from dbt_common.events.event_manager_client import ctx_set_event_manager, get_event_manager

    class InfoEvents(EventManager):
        def fire_event(self, e: Any, level: EventLevel | None = None, *arguments: Any, **more: Any) -> None:
            if (level or e.level_tag()) not in (EventLevel.DEBUG, EventLevel.TEST):
                super().fire_event(e, level, *arguments, **more)

    before = get_event_manager()
    ctx_set_event_manager(InfoEvents())
    try:
        yield
    finally:
        ctx_set_event_manager(before)
