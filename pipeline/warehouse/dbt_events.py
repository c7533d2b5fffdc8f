"""dbt's events in a build: those for debugging are dropped before dbt makes, formats and writes their messages.

They take a quarter of a small build.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.warehouse.replaced_members import replaced_members


@contextmanager
def without_debug_events() -> Iterator[None]:
    """Drop dbt's events of the level debug inside a block. The log of a build has the level info: they are not in it anyway."""
    from dbt_common.events.base_types import BaseEvent, DebugLevel, EventLevel
    from dbt_common.events.event_manager import EventManager
    from dbt_common.events.event_manager_client import ctx_set_event_manager, get_event_manager

    event_class: Any = BaseEvent
    make, get_attribute = event_class.__init__, event_class.__getattr__

    class InfoEvents(EventManager):
        def fire_event(self, e: Any, level: EventLevel | None = None, *arguments: Any, **more: Any) -> None:
            if (level or e.level_tag()) not in (EventLevel.DEBUG, EventLevel.TEST):
                super().fire_event(e, level, *arguments, **more)

    def make_later(event: BaseEvent, *arguments: Any, **fields: Any) -> None:
        if isinstance(event, DebugLevel):
            event.__dict__["fields"] = fields
        else:
            make(event, *arguments, **fields)

    def made_attribute(event: BaseEvent, name: str) -> Any:
        """An attribute that the object itself lacks: one of its message, which is made now if it is for debugging."""
        if "pb_msg" not in event.__dict__ and "fields" in event.__dict__:
            make(event, **event.__dict__.pop("fields"))
        return event.__dict__[name] if name in event.__dict__ else get_attribute(event, name)

    before = get_event_manager()
    ctx_set_event_manager(InfoEvents())
    try:
        with replaced_members([(BaseEvent, "__init__", make_later), (BaseEvent, "__getattr__", made_attribute)]):
            yield
    finally:
        ctx_set_event_manager(before)
