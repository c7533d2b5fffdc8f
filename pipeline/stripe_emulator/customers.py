"""Customers, prices and subscriptions."""

from __future__ import annotations

from pipeline.stripe_emulator import objects
from pipeline.stripe_emulator.call_context import Desk, integer, new
from pipeline.stripe_emulator.errors import RefusalError, missing, required
from pipeline.stripe_emulator.limits import check_address
from pipeline.stripe_emulator.store import Object

MOST_ITEMS = 20
"""The most items that Stripe takes on one subscription."""
_SHOWN_ITEMS = 10


def shown(subscription: Object) -> Object:
    """A subscription with its first items, as Stripe shows it."""
    items = subscription["items"]
    page = {"data": items["data"][:_SHOWN_ITEMS], "has_more": len(items["data"]) > _SHOWN_ITEMS}
    return subscription | {"items": items | page}


class Customers:
    """Calls on customers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def create(self, params: Object) -> Object:
        check_address(params)
        return self._desk.save(objects.customer(new("cus"), self._desk.now(), params), "customer.created")

    def retrieve(self, id: str) -> Object:
        return self._desk.get("customer", id)

    def update(self, id: str, params: Object) -> Object:
        found = self._desk.get("customer", id)
        check_address(params)
        found |= {name: params[name] for name in ("name", "email", "description") if name in params}
        found["metadata"] |= params.get("metadata", {})
        return self._desk.save(found, "customer.updated")

    def add_to_balance(self, id: str, params: Object) -> Object:
        """A balance transaction: below zero is credit that pays for the next invoice."""
        found = self._desk.get("customer", id)
        found["balance"] += integer(params, "amount", 0)
        self._desk.save(found, "customer.updated")
        return {
            "id": new("cbtxn"),
            "object": "customer_balance_transaction",
            "amount": integer(params, "amount", 0),
            "created": self._desk.now(),
            "currency": params["currency"],
            "customer": id,
            "ending_balance": found["balance"],
            "livemode": False,
            "type": "adjustment",
        }

    def delete(self, id: str) -> Object:
        """Gone from lists; its subscriptions end with it, and stay."""
        found = self._desk.get("customer", id)
        subscriptions = Subscriptions(self._desk)
        for one in list(self._desk.store.list("subscription", customer=id)):
            if one["status"] != "canceled":
                subscriptions.cancel(one["id"])
        self._desk.store.delete(id)
        self._desk.tell("customer.deleted", found)
        return {"id": id, "object": "customer", "deleted": True}

    def list(self, params: Object) -> Object:
        return self._desk.page("customer", "/v1/customers", params, equal=("email",))


class Subscriptions:
    """Calls on prices and subscriptions."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def create_price(self, params: Object) -> Object:
        if "currency" not in params:
            raise required("currency")
        return self._desk.save(objects.price(new("price"), self._desk.now(), params), "price.created")

    def create(self, params: Object) -> Object:
        for name in ("customer", "items"):
            if name not in params:
                raise required(name)
        self._desk.get("customer", params["customer"])
        if len(params["items"]) > MOST_ITEMS:
            raise RefusalError(f"A subscription can have at most {MOST_ITEMS} items.", param="items")
        id, now = new("sub"), self._desk.now()
        items = [self._item(id, item) for item in params["items"]]
        return self._saved(objects.subscription(id, now, params, items), "customer.subscription.created")

    def list(self, params: Object) -> Object:
        asked = params.get("status")
        return self._desk.page(
            "subscription",
            "/v1/subscriptions",
            params,
            wanted=lambda one: asked in ("all", one["status"]) or (asked is None and one["status"] != "canceled"),
            show=shown,
        )

    def list_items(self, params: Object) -> Object:
        """The items of one subscription, in pages, in the order in which it shows them."""
        if "subscription" not in params:
            raise required("subscription")
        items = self._desk.get("subscription", params["subscription"])["items"]["data"]
        limit, first = integer(params, "limit", 10), 0
        if "starting_after" in params:
            ids = [item["id"] for item in items]
            if params["starting_after"] not in ids:
                raise missing("subscription_item", params["starting_after"], param="starting_after")
            first = ids.index(params["starting_after"]) + 1
        page = items[first : first + limit]
        return {"object": "list", "url": "/v1/subscription_items", "has_more": len(items) > first + limit, "data": page}

    def retrieve(self, id: str) -> Object:
        return shown(self._desk.get("subscription", id))

    def update(self, id: str, params: Object) -> Object:
        """Other prices, from now on: an item that is named by its id gets the new price."""
        found = self._in_force(id)
        if "items" in params:
            found["items"]["data"] = [self._item(id, item) for item in params["items"]]
        found["metadata"] |= params.get("metadata", {})
        found |= {name: int(params[name]) for name in ("cancel_at", "trial_end") if name in params}
        return self._saved(found, "customer.subscription.updated")

    def cancel(self, id: str) -> Object:
        """Ended, now."""
        now = self._desk.now()
        found = self._in_force(id) | {"status": "canceled", "canceled_at": now, "ended_at": now}
        return self._saved(found, "customer.subscription.deleted")

    def pause(self, id: str) -> Object:
        """Paused, now: `status_details` says since when."""
        subscription = {"type": "pause_requested"}
        paused = {"subscription": subscription, "transitioned_at": self._desk.now(), "type": "subscription"}
        return self._saved(self._in_force(id) | {"status": "paused", "status_details": {"paused": paused}})

    def resume(self, id: str) -> Object:
        """Active again, now."""
        found = self._in_force(id)
        return self._saved({name: value for name, value in found.items() if name != "status_details"} | {"status": "active"})

    def change(self, id: str, fields: Object) -> Object:
        """What Stripe does by itself as time passes (a trial ends, payments fail): the status, and what goes with it."""
        found = self._in_force(id) | fields
        ended = found["status"] == "canceled"
        return self._saved(found, "customer.subscription.deleted" if ended else "customer.subscription.updated")

    def _saved(self, subscription: Object, event_type: str = "customer.subscription.updated") -> Object:
        """Save it, with an event that shows it as Stripe does: with its first items, and what an update changed."""
        before = self._desk.store.find("subscription", subscription["id"])
        previous = None
        if before is not None and event_type.endswith(".updated"):
            was, now = shown(before), shown(subscription)
            previous = {name: was.get(name) for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
        self._desk.store.save(subscription)
        self._desk.tell(event_type, shown(subscription), previous)
        return shown(subscription)

    def _in_force(self, id: str) -> Object:
        found = self._desk.get("subscription", id)
        if found["status"] == "canceled":
            raise RefusalError("A canceled subscription can only update its cancellation_details and metadata.")
        return found

    def _item(self, subscription: str, params: Object) -> Object:
        price = self._desk.get("price", params["price"])
        return objects.subscription_item(params.get("id") or new("si"), self._desk.now(), price, subscription)
