"""The billing rules in plain Python: an engine to check the warehouse against.

Written from the rules alone and never from the SQL, with loops, `datetime`, `Decimal` and `Fraction`, to be read
beside them. It is slow on purpose. Where it and the warehouse differ, one of them has not understood a rule.

    accepted = accept(rows in the order they landed).events
    result = compute(accepted, subscriptions, PriceBook.read(Path("seeds")), as_of)
    result.invoices, result.lines, result.sessions, result.usage_daily
"""

from .acceptance import Acceptance, accept
from .engine import compute
from .price_book import PriceBook
from .records import (
    CreditApplication,
    CreditGrant,
    CustomerRecord,
    DailyUsage,
    EndReason,
    Event,
    EventType,
    IgnoredBecause,
    Invoice,
    Ledger,
    Line,
    LineType,
    ListingPart,
    Result,
    Session,
    SubscriptionRecord,
    Void,
)

__all__ = [
    "Acceptance",
    "CreditApplication",
    "CreditGrant",
    "CustomerRecord",
    "DailyUsage",
    "EndReason",
    "Event",
    "EventType",
    "IgnoredBecause",
    "Invoice",
    "Ledger",
    "Line",
    "LineType",
    "ListingPart",
    "PriceBook",
    "Result",
    "Session",
    "SubscriptionRecord",
    "Void",
    "accept",
    "compute",
]
