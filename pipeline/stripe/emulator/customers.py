"""Customers, prices and subscriptions."""

from __future__ import annotations

from pipeline.stripe.emulator import objects
from pipeline.stripe.emulator.desk import Desk, new
from pipeline.stripe.emulator.refusals import RefusalError, required
from pipeline.stripe.emulator.store import Object


class Customers:
    """Calls on customers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def create(self, params: Object) -> Object:
        return self._desk.save(objects.customer(new("cus"), self._desk.now(), params), "customer.created")

    def retrieve(self, id: str) -> Object:
        return self._desk.get("customer", id)

    def update(self, id: str, params: Object) -> Object:
        found = self._desk.get("customer", id)
        found |= {name: params[name] for name in ("name", "email", "description") if name in params}
        found["metadata"] |= params.get("metadata", {})
        return self._desk.save(found, "customer.updated")

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
        id, now = new("sub"), self._desk.now()
        items = [self._item(id, item) for item in params["items"]]
        return self._desk.save(objects.subscription(id, now, params, items), "customer.subscription.created")

    def list(self, params: Object) -> Object:
        asked = params.get("status")
        return self._desk.page(
            "subscription",
            "/v1/subscriptions",
            params,
            wanted=lambda one: asked in ("all", one["status"]) or (asked is None and one["status"] != "canceled"),
        )

    def retrieve(self, id: str) -> Object:
        return self._desk.get("subscription", id)

    def update(self, id: str, params: Object) -> Object:
        """Other prices, from now on: an item that is named by its id gets the new price."""
        found = self._in_force(id)
        if "items" in params:
            found["items"]["data"] = [self._item(id, item) for item in params["items"]]
        found["metadata"] |= params.get("metadata", {})
        return self._desk.save(found, "customer.subscription.updated")

    def cancel(self, id: str) -> Object:
        """Ended, now."""
        now = self._desk.now()
        found = self._in_force(id) | {"status": "canceled", "canceled_at": now, "ended_at": now}
        return self._desk.save(found, "customer.subscription.deleted")

    def _in_force(self, id: str) -> Object:
        found = self._desk.get("subscription", id)
        if found["status"] == "canceled":
            raise RefusalError("A canceled subscription can only update its cancellation_details and metadata.")
        return found

    def _item(self, subscription: str, params: Object) -> Object:
        price = self._desk.get("price", params["price"])
        return objects.subscription_item(params.get("id") or new("si"), self._desk.now(), price, subscription)
