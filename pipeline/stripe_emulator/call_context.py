"""What all of the emulator's calls share: the store, the clock, pages of lists, and the events that tell of every change."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from pipeline.stripe_emulator import objects
from pipeline.stripe_emulator.errors import RefusalError, missing
from pipeline.stripe_emulator.store import Object, Store

EVENT_DAYS = 30
"""How long Stripe lists an event."""
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "gt": lambda found, asked: found > asked,
    "gte": lambda found, asked: found >= asked,
    "lt": lambda found, asked: found < asked,
    "lte": lambda found, asked: found <= asked,
}


class Desk:
    """Store and clock (seconds since 1970)."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self.store = store
        self.now = now

    def get(self, kind: str, id: str) -> Object:
        """The object, or Stripe's 404."""
        found = self.store.find(kind, id)
        if found is None:
            raise missing(kind, id)
        return found

    def save(self, body: Object, *event_types: str, shown: Object | None = None) -> Object:
        """Keep an object, and tell of it in an event of each type; `shown` is what the event shows, where not the object."""
        self.store.save(body)
        for event_type in event_types:
            self.tell(event_type, shown or body)
        return body

    def tell(self, event_type: str, shown: Object, previous: Object | None = None) -> None:
        """An event; `previous`: the values of what an update changed."""
        self.store.save(objects.event(new("evt"), self.now(), event_type, shown, previous))

    def page(
        self,
        kind: str,
        url: str,
        params: Object,
        *,
        equal: tuple[str, ...] = (),
        wanted: Callable[[Object], bool] = lambda _: True,
        show: Callable[[Object], Object] = lambda body: body,
    ) -> Object:
        """One page of a list, newest first: `limit`, `starting_after`, `created`, and `equal`: filters by a field's value."""
        limit = integer(params, "limit", 10)
        if not 1 <= limit <= 100:
            raise RefusalError("This value must be between 1 and 100.", code="parameter_invalid_integer", param="limit")
        before = None
        if "starting_after" in params:
            before = self.store.position(params["starting_after"])
            if before is None:
                raise missing(kind, params["starting_after"], param="starting_after")
        data: list[Any] = []
        found = self.store.list(kind, customer=params.get("customer"), invoice=params.get("invoice"), before=before)
        for body in found:
            if (
                all(name not in params or body[name] == params[name] for name in equal)
                and _is_created(body, params.get("created", {}))
                and wanted(body)
            ):
                data.append(show(body))
                if len(data) > limit:
                    break
        return {"object": "list", "url": url, "has_more": len(data) > limit, "data": data[:limit]}

    def list_events(self, params: Object) -> Object:
        """Events of the last 30 days: `type`, or `types[]`."""
        types = params.get("types") or ([params["type"]] if "type" in params else None)
        oldest = self.now() - EVENT_DAYS * 86400
        return self.page(
            "event",
            "/v1/events",
            params,
            wanted=lambda body: (types is None or body["type"] in types) and body["created"] > oldest,
        )


def _is_created(body: Object, asked: Object | str) -> bool:
    if isinstance(asked, str):
        return bool(body["created"] == int(asked))
    return all(_COMPARISONS[name](body["created"], int(value)) for name, value in asked.items())


def integer(params: Object, name: str, default: int) -> int:
    """A whole number among the parameters, which come as text."""
    try:
        return int(params.get(name, default))
    except ValueError:
        raise RefusalError(f"Invalid integer: {params[name]}", code="parameter_invalid_integer", param=name) from None


def new(prefix: str) -> str:
    """An id as Stripe makes them."""
    return f"{prefix}_{secrets.token_urlsafe(18).replace('-', 'A').replace('_', 'B')}"
