"""Random listings of the sandboxes of a customer. Billing rules, section 4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random

from .records import ListingPart

_EVERY = (timedelta(microseconds=1), timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=25))


def random_listings(
    random: Random, customer_id: str, sandbox_ids: Sequence[str], instant: Callable[[Random], datetime]
) -> list[ListingPart]:
    """The parts of a few series of listings, in any order.

    Each series has a scope of the customer's own, and each of its listings names most sandboxes of the one before.

    Some listings lack a part, name a sandbox twice, name nothing, or name sandboxes of which no event is known.
    """
    if not sandbox_ids or random.random() < 0.5:
        return []
    known = [*sandbox_ids, f"{customer_id}-unknown"]
    parts: dict[tuple[str, datetime], list[ListingPart]] = {}
    for _ in range(random.choice((1, 2, 2, 3))):
        scope = f"{customer_id}-{random.choice('aaab')}"
        at, every = instant(random), random.choice(_EVERY)
        named = {sandbox_id for sandbox_id in known if random.random() < 0.7}
        for _ in range(random.randrange(1, 10)):
            for sandbox_id in known:
                if random.random() < 0.2:
                    named ^= {sandbox_id}
            parts[scope, at] = _in_parts(random, at, sorted(named), scope)
            at = at + every * random.choice((1, 1, 1, 3)) if random.random() < 0.85 else instant(random)
    rows = [part for of_listing in parts.values() for part in of_listing]
    random.shuffle(rows)
    return rows


def _in_parts(random: Random, at: datetime, named: Sequence[str], scope: str) -> list[ListingPart]:
    if random.random() < 0.75:
        return [ListingPart(at, tuple(named), scope)]
    count = random.choice((2, 2, 3))
    parts = []
    for number in range(1, count + 1):
        of_part = [*named[number - 1 :: count], *(named[:1] if random.random() < 0.2 else ())]
        parts.append(ListingPart(at, tuple(sorted(set(of_part))), scope, number, count))
    if random.random() < 0.3:
        parts.remove(random.choice(parts))
    return parts
