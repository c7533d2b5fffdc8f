"""Owners of assets, as the UI shows them."""

PLATFORM = "team:platform"
BILLING = "team:billing"
FINANCE = "team:finance"

OF_LAYER = {"price_book": FINANCE, "rating": BILLING, "invoicing": BILLING, "billing": BILLING}
"""The owner of each layer of models; of the others it is the platform."""
