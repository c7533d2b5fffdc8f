"""Shared by all calls of the emulator: the store, the clock, pagination, and the events that report changes."""

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
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


class CallContext:
    """The store, the clock (seconds since 1970), and calls that several kinds of object need."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self.store = store
        self.now = now

    def get(self, kind: str, id: str) -> Object:
        """The object. Raises Stripe's 404."""
        found = self.store.find(kind, id)
        if found is None:
            raise missing(kind, id)
        return found

    def save(self, body: Object, *event_types: str) -> Object:
        """Save an object and emit an event of each type."""
        self.store.save(body)
        for event_type in event_types:
            self.emit(event_type, body)
        return body

    def emit(self, event_type: str, body: Object, previous: Object | None = None) -> None:
        """Save an event about an object. `previous`: the old values of the fields that an update changed."""
        self.store.save(objects.event(new_id("evt"), self.now(), event_type, body, previous))

    def page(
        self,
        kind: str,
        url: str,
        params: Object,
        *,
        equal: tuple[str, ...] = (),
        where: Callable[[Object], bool] = lambda _: True,
        view: Callable[[Object], Object] = lambda body: body,
    ) -> Object:
        """One page of a list, newest first, with Stripe's parameters `limit`, `starting_after` and `created`.

        `equal`: parameters that filter by a field of the same name; `where`: a further filter; `view`: applied to each object.
        """
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
                and where(body)
            ):
                data.append(view(body))
                if len(data) > limit:
                    break
        return {"object": "list", "url": url, "has_more": len(data) > limit, "data": data[:limit]}

    def list_events(self, params: Object) -> Object:
        """Events of the last 30 days, filtered by `type` or `types[]`."""
        types = params.get("types") or ([params["type"]] if "type" in params else None)
        oldest = self.now() - EVENT_DAYS * 86400
        return self.page(
            "event",
            "/v1/events",
            params,
            where=lambda body: (types is None or body["type"] in types) and body["created"] > oldest,
        )


def _is_created(body: Object, condition: Object | str) -> bool:
    if isinstance(condition, str):
        return bool(body["created"] == int(condition))
    return all(_COMPARISONS[name](body["created"], int(value)) for name, value in condition.items())


def integer(params: Object, name: str, default: int) -> int:
    """An integer parameter; parameters arrive as text."""
    try:
        return int(params.get(name, default))
    except ValueError:
        raise RefusalError(f"Invalid integer: {params[name]}", code="parameter_invalid_integer", param=name) from None


def new_id(prefix: str) -> str:
    """An id in Stripe's format, e.g. in_..."""
    return f"{prefix}_{secrets.token_urlsafe(18).replace('-', 'A').replace('_', 'B')}"
