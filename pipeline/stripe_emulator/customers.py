"""Customers, prices and subscriptions."""

from __future__ import annotations

from pipeline.stripe_emulator import objects
from pipeline.stripe_emulator.call_context import CallContext, integer, new_id
from pipeline.stripe_emulator.errors import RefusalError, missing, required
from pipeline.stripe_emulator.limits import check_address
from pipeline.stripe_emulator.store import Object

MAX_ITEMS = 20
"""Stripe's limit on the items of one subscription."""
_ITEMS_IN_OBJECT = 10


def with_first_items(subscription: Object) -> Object:
    """A subscription with its first ten items, as Stripe returns it."""
    items = subscription["items"]
    page = {"data": items["data"][:_ITEMS_IN_OBJECT], "has_more": len(items["data"]) > _ITEMS_IN_OBJECT}
    return subscription | {"items": items | page}


class Customers:
    """Calls on customers."""

    def __init__(self, context: CallContext) -> None:
        self._context = context

    def create(self, params: Object) -> Object:
        check_address(params)
        return self._context.save(objects.customer(new_id("cus"), self._context.now(), params), "customer.created")

    def retrieve(self, id: str) -> Object:
        return self._context.get("customer", id)

    def update(self, id: str, params: Object) -> Object:
        found = self._context.get("customer", id)
        check_address(params)
        found |= {name: params[name] for name in ("name", "email", "description") if name in params}
        found["metadata"] |= params.get("metadata", {})
        return self._context.save(found, "customer.updated")

    def add_to_balance(self, id: str, params: Object) -> Object:
        """A balance transaction: a negative amount is credit for the next invoice."""
        found = self._context.get("customer", id)
        found["balance"] += integer(params, "amount", 0)
        self._context.save(found, "customer.updated")
        return {
            "id": new_id("cbtxn"),
            "object": "customer_balance_transaction",
            "amount": integer(params, "amount", 0),
            "created": self._context.now(),
            "currency": params["currency"],
            "customer": id,
            "ending_balance": found["balance"],
            "livemode": False,
            "type": "adjustment",
        }

    def delete(self, id: str) -> Object:
        """Remove it from lists and cancel its subscriptions, which remain."""
        found = self._context.get("customer", id)
        subscriptions = Subscriptions(self._context)
        for one in list(self._context.store.list("subscription", customer=id)):
            if one["status"] != "canceled":
                subscriptions.cancel(one["id"])
        self._context.store.delete(id)
        self._context.emit("customer.deleted", found)
        return {"id": id, "object": "customer", "deleted": True}

    def list(self, params: Object) -> Object:
        return self._context.page("customer", "/v1/customers", params, equal=("email",))


class Subscriptions:
    """Calls on prices and subscriptions."""

    def __init__(self, context: CallContext) -> None:
        self._context = context

    def create_price(self, params: Object) -> Object:
        if "currency" not in params:
            raise required("currency")
        return self._context.save(objects.price(new_id("price"), self._context.now(), params), "price.created")

    def create(self, params: Object) -> Object:
        for name in ("customer", "items"):
            if name not in params:
                raise required(name)
        self._context.get("customer", params["customer"])
        if len(params["items"]) > MAX_ITEMS:
            raise RefusalError(f"A subscription can have at most {MAX_ITEMS} items.", param="items")
        id, now = new_id("sub"), self._context.now()
        items = [self._item(id, item) for item in params["items"]]
        return self._saved(objects.subscription(id, now, params, items), "customer.subscription.created")

    def list(self, params: Object) -> Object:
        asked = params.get("status")
        return self._context.page(
            "subscription",
            "/v1/subscriptions",
            params,
            where=lambda one: asked in ("all", one["status"]) or (asked is None and one["status"] != "canceled"),
            view=with_first_items,
        )

    def list_items(self, params: Object) -> Object:
        """One page of the items of a subscription, in the subscription's order."""
        if "subscription" not in params:
            raise required("subscription")
        items = self._context.get("subscription", params["subscription"])["items"]["data"]
        limit, first = integer(params, "limit", 10), 0
        if "starting_after" in params:
            ids = [item["id"] for item in items]
            if params["starting_after"] not in ids:
                raise missing("subscription_item", params["starting_after"], param="starting_after")
            first = ids.index(params["starting_after"]) + 1
        page = items[first : first + limit]
        return {"object": "list", "url": "/v1/subscription_items", "has_more": len(items) > first + limit, "data": page}

    def retrieve(self, id: str) -> Object:
        return with_first_items(self._context.get("subscription", id))

    def update(self, id: str, params: Object) -> Object:
        """Set the prices from now on: an item given by its id gets the new price."""
        found = self._active(id)
        if "items" in params:
            found["items"]["data"] = [self._item(id, item) for item in params["items"]]
        found["metadata"] |= params.get("metadata", {})
        found |= {name: int(params[name]) for name in ("cancel_at", "trial_end") if name in params}
        return self._saved(found, "customer.subscription.updated")

    def cancel(self, id: str) -> Object:
        """Cancel now."""
        now = self._context.now()
        found = self._active(id) | {"status": "canceled", "canceled_at": now, "ended_at": now}
        return self._saved(found, "customer.subscription.deleted")

    def pause(self, id: str) -> Object:
        """Pause now; `status_details` records the instant."""
        subscription = {"type": "pause_requested"}
        paused = {"subscription": subscription, "transitioned_at": self._context.now(), "type": "subscription"}
        return self._saved(self._active(id) | {"status": "paused", "status_details": {"paused": paused}})

    def resume(self, id: str) -> Object:
        """Resume now."""
        found = self._active(id)
        return self._saved({name: value for name, value in found.items() if name != "status_details"} | {"status": "active"})

    def change(self, id: str, fields: Object) -> Object:
        """Set fields that Stripe changes by itself over time, e.g. the status when a trial ends or a payment fails."""
        found = self._active(id) | fields
        ended = found["status"] == "canceled"
        return self._saved(found, "customer.subscription.deleted" if ended else "customer.subscription.updated")

    def _saved(self, subscription: Object, event_type: str = "customer.subscription.updated") -> Object:
        """Save it and emit an event with its first ten items and the old values of the changed fields."""
        before = self._context.store.find("subscription", subscription["id"])
        previous = None
        if before is not None and event_type.endswith(".updated"):
            was, now = with_first_items(before), with_first_items(subscription)
            previous = {name: was.get(name) for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
        self._context.store.save(subscription)
        self._context.emit(event_type, with_first_items(subscription), previous)
        return with_first_items(subscription)

    def _active(self, id: str) -> Object:
        """A subscription that can still be changed."""
        found = self._context.get("subscription", id)
        if found["status"] == "canceled":
            raise RefusalError("A canceled subscription can only update its cancellation_details and metadata.")
        return found

    def _item(self, subscription: str, params: Object) -> Object:
        price = self._context.get("price", params["price"])
        return objects.subscription_item(params.get("id") or new_id("si"), self._context.now(), price, subscription)
