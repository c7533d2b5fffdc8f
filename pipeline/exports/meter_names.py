"""The names of meters for people, in the order of invoices."""

from __future__ import annotations

from pipeline.core.home import SEEDS
from pipeline.pricebook.price_book import read_rows
from pipeline.pricebook.schema import FILES, Meter


def meter_names() -> dict[str, str]:
    """By meter."""
    meters = (meter for _, meter in read_rows(SEEDS / "meters.csv", FILES["meters.csv"], []))
    ordered = sorted((meter for meter in meters if isinstance(meter, Meter)), key=lambda meter: meter.display_order)
    return {meter.meter_id: meter.meter_name for meter in ordered}
