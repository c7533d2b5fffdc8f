"""New Stripe objects: every field of Stripe's published samples, with its initial value. A table of fields, hence long."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def _address() -> Object:
    return dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def customer(id: str, created: int, params: Object) -> Object:
    """A customer."""
    return {
        "id": id,
        "object": "customer",
        "address": _address(),
        "balance": 0,
        "created": created,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": params.get("description"),
        "discount": None,
        "email": params.get("email"),
        "invoice_prefix": id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "name": params.get("name"),
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def invoice_item(id: str, now: int, params: Object) -> Object:
    """An invoice item; pending if `params` names no invoice."""
    period = params.get("period", {})
    amount = int(params["amount"])
    return {
        "id": id,
        "object": "invoiceitem",
        "amount": amount,
        "currency": params["currency"].lower(),
        "customer": params["customer"],
        "customer_account": None,
        "date": now,
        "description": params.get("description"),
        "discountable": False,
        "discounts": [],
        "invoice": params.get("invoice"),
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "net_amount": amount,
        "parent": None,
        "period": {"start": int(period.get("start", now)), "end": int(period.get("end", now))},
        "pricing": None,
        "proration": False,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    }


def line_item(item: Object) -> Object:
    """An invoice item as a line of its invoice."""
    return {
        "id": "il_" + item["id"].removeprefix("ii_"),
        "object": "line_item",
        "amount": item["amount"],
        "currency": item["currency"],
        "description": item["description"],
        "discount_amounts": [],
        "discountable": item["discountable"],
        "discounts": [],
        "invoice": item["invoice"],
        "livemode": False,
        "metadata": item["metadata"],
        "parent": {
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": None,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "period": item["period"],
        "pretax_credit_amounts": [],
        "pricing": item["pricing"],
        "quantity": item["quantity"],
        "quantity_decimal": item["quantity_decimal"],
        "subscription": None,
        "subtotal": item["amount"],
        "taxes": [],
    }


def invoice(id: str, now: int, params: Object, customer: Object) -> Object:
    """A draft invoice without lines."""
    days = params.get("days_until_due")
    return {
        "id": id,
        "object": "invoice",
        "account_country": "US",
        "account_name": None,
        "account_tax_ids": None,
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": params.get("auto_advance") == "true",
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": params.get("automatic_tax", {}).get("enabled") == "true",
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": "manual",
        "collection_method": params.get("collection_method", "charge_automatically"),
        "created": now,
        "currency": params["currency"].lower(),
        "custom_fields": None,
        "customer": customer["id"],
        "customer_account": None,
        "customer_address": None,
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": None,
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": params.get("description"),
        "discounts": [],
        "due_date": now + int(days) * 86400 if days else None,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": None,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": None,
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": now,
        "period_start": now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {"finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None},
        "subscription": None,
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": None,
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }


def event(id: str, now: int, event_type: str, body: Object, previous: Object | None = None) -> Object:
    """An event: the object after the change, and in `previous` the old values of the fields that an update changed."""
    return {
        "id": id,
        "object": "event",
        "api_version": None,
        "created": now,
        "data": {"object": body} | ({"previous_attributes": previous} if previous is not None else {}),
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": event_type,
    }


def credit_note(id: str, now: int, params: Object, invoice: Object, amount: int, number: str) -> Object:
    """A credit note; its type is `pre_payment` if it reduces the amount that is still to be paid."""
    is_open = invoice["status"] == "open"
    return {
        "id": id,
        "object": "credit_note",
        "amount": amount,
        "amount_shipping": 0,
        "created": now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": now,
        "invoice": invoice["id"],
        "lines": None,
        "livemode": False,
        "memo": params.get("memo"),
        "metadata": params.get("metadata", {}),
        "number": number,
        "out_of_band_amount": int(params["out_of_band_amount"]) if "out_of_band_amount" in params else None,
        "pdf": f"https://invoice.stripe.example/{id}/pdf",
        "post_payment_amount": 0 if is_open else amount,
        "pre_payment_amount": amount if is_open else 0,
        "pretax_credit_amounts": [],
        "reason": params.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_excluding_tax": amount,
        "total_taxes": [],
        "type": "pre_payment" if is_open else "post_payment",
        "voided_at": None,
    }


def credit_note_line(id: str, params: Object, amount: int) -> Object:
    """A line of a credit note: refers to an invoice line, or has its own text and amount."""
    return {
        "id": id,
        "object": "credit_note_line_item",
        "amount": amount,
        "description": params.get("description"),
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": params.get("invoice_line_item"),
        "livemode": False,
        "metadata": params.get("metadata"),
        "pretax_credit_amounts": [],
        "quantity": int(params.get("quantity", 1)),
        "tax_rates": [],
        "taxes": None,
        "type": params["type"],
        "unit_amount": int(params["unit_amount"]) if "unit_amount" in params else None,
        "unit_amount_decimal": params.get("unit_amount"),
    }


def tax_rate(id: str, now: int, params: Object) -> Object:
    """A tax rate."""
    return {
        "id": id,
        "object": "tax_rate",
        "active": True,
        "country": params.get("country"),
        "created": now,
        "description": params.get("description"),
        "display_name": params["display_name"],
        "effective_percentage": float(params["percentage"]),
        "flat_amount": None,
        "inclusive": params["inclusive"] == "true",
        "jurisdiction": params.get("jurisdiction"),
        "jurisdiction_level": None,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "percentage": float(params["percentage"]),
        "rate_type": "percentage",
        "state": None,
        "tax_type": params.get("tax_type"),
    }


def total_tax(tax_rate: str, behavior: str) -> Object:
    """The total of one tax rate on an invoice, to be summed up: exclusive taxes are added, inclusive ones contained."""
    return {
        "amount": 0,
        "tax_behavior": behavior,
        "tax_rate_details": {"tax_rate": tax_rate},
        "taxability_reason": "standard_rated",
        "taxable_amount": 0,
        "type": "tax_rate_details",
    }


def invoice_payment(id: str, now: int, invoice: Object, amount: int) -> Object:
    """A payment of an invoice."""
    return {
        "id": id,
        "object": "invoice_payment",
        "amount_paid": amount,
        "amount_requested": amount,
        "created": now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"type": "payment_intent", "payment_intent": "pi_" + id.removeprefix("inpay_")},
        "status": "paid",
        "status_transitions": {"canceled_at": None, "paid_at": now},
    }


def price(id: str, now: int, params: Object) -> Object:
    """A monthly price."""
    return {
        "id": id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": now,
        "currency": params["currency"].lower(),
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": params.get("lookup_key"),
        "metadata": params.get("metadata", {}),
        "nickname": params.get("nickname"),
        "product": params.get("product", "prod_emulated"),
        "recurring": {
            "interval": "month",
            "interval_count": 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
        },
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring",
        "unit_amount": int(params.get("unit_amount", 0)),
        "unit_amount_decimal": str(params.get("unit_amount", 0)),
    }


def subscription_item(id: str, now: int, price: Object, subscription: str) -> Object:
    """One price on a subscription."""
    return {
        "id": id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": now,
        "current_period_end": now + 30 * 86400,
        "current_period_start": now,
        "discounts": [],
        "metadata": {},
        "plan": None,
        "price": price,
        "quantity": 1,
        "subscription": subscription,
        "tax_rates": [],
    }


def subscription(id: str, now: int, params: Object, items: list[Object]) -> Object:
    """A subscription: active; trialing with `trial_end` or `trial_period_days`; incomplete while its first payment is pending."""
    trial_end = params.get("trial_end") or (
        now + int(params["trial_period_days"]) * 86400 if "trial_period_days" in params else None
    )
    status = "trialing" if trial_end else "incomplete" if params.get("payment_behavior") == "default_incomplete" else "active"
    null_fields = (
        "application", "application_fee_percent", "billing_cycle_anchor_config", "billing_schedules", "billing_thresholds",
        "cancel_at", "canceled_at", "customer_account", "days_until_due", "default_payment_method", "default_source",
        "description", "ended_at", "latest_invoice", "next_pending_invoice_item_invoice", "on_behalf_of", "pause_collection",
        "pending_invoice_item_interval", "pending_setup_intent", "pending_update", "schedule", "test_clock", "transfer_data",
    )  # fmt: skip
    return dict.fromkeys(null_fields) | {
        "id": id,
        "object": "subscription",
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": now,
        "billing_mode": {"flexible": None, "type": "classic"},
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": params.get("collection_method", "charge_automatically"),
        "created": now,
        "currency": items[0]["price"]["currency"],
        "customer": params["customer"],
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        "items": {"object": "list", "data": items, "has_more": False, "url": f"/v1/subscription_items?subscription={id}"},
        "livemode": False,
        "managed_payments": None,
        "metadata": params.get("metadata", {}),
        "payment_settings": {"payment_method_options": None, "payment_method_types": None, "save_default_payment_method": "off"},
        "start_date": int(params.get("backdate_start_date", now)),
        "status": status,
        "trial_end": int(trial_end) if trial_end else None,
        "trial_settings": None,
        "trial_start": now if trial_end else None,
    }
