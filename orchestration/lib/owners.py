"""Owners of assets, as the UI shows them."""

PLATFORM = "team:platform"
BILLING = "team:billing"
FINANCE = "team:finance"

OF_LAYER = {"price_book": FINANCE, "rating": BILLING, "billing": BILLING, "reports": BILLING}
"""Owners of the layers of models; PLATFORM owns the others."""
