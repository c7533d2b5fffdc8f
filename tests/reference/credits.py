"""Credit grants: their application to invoices, and their restoration by negative invoices. Billing rules, section 6."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from .customers import Customer
from .payable import Part
from .records import CreditApplication, CreditGrant

NEVER = datetime.max.replace(tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def signup_grant(customer: Customer) -> CreditGrant | None:
    """The sign-up grant, at the customer's first event or subscription record; None if the plan gives none."""
    amount = customer.signup_credit()
    if not amount or customer.first_seen_at is None:
        return None
    return CreditGrant(
        grant_id=f"signup-{customer.customer_id}",
        customer_id=customer.customer_id,
        amount=amount,
        currency=customer.currency_at(customer.first_seen_at),
        granted_at=customer.first_seen_at,
    )


def in_order_of_use(grants: Iterable[CreditGrant]) -> list[CreditGrant]:
    """By priority, then earliest expiry, then earliest grant, then id."""
    return sorted(grants, key=lambda grant: (grant.priority, grant.expires_at or NEVER, grant.granted_at, grant.grant_id))


def is_unexpired(grant: CreditGrant, period_end: datetime) -> bool:
    return grant.expires_at is None or grant.expires_at > period_end


def can_pay(grant: CreditGrant, part: Part) -> bool:
    """Whether a grant can pay a part of an invoice: the part is in its scope, and its day began before the grant expired."""
    last_day = date.max if grant.expires_at is None else (grant.expires_at - MICROSECOND).date()
    return part.day <= last_day and (part.is_usage or grant.scope == "all")


def apply_credits(
    grants: Sequence[CreditGrant],
    applied_before: Sequence[CreditApplication],
    parts: Sequence[Part],
    period: str,
    period_start: datetime,
    period_end: datetime,
) -> list[CreditApplication]:
    """Apply one customer's grants to one invoice: in order of use, each pays as much as it can without reducing earlier ones.

    What those before it pay, they may pay of other parts instead, where that makes room.
    """
    left = {grant.grant_id: grant.amount for grant in grants}
    for earlier in applied_before:
        if earlier.grant_id in left:
            left[earlier.grant_id] -= earlier.amount
    usable = [grant for grant in grants if grant.granted_at < period_end and (grant.expires_at or NEVER) > period_start]
    payment = _Payment(parts)
    applications: list[CreditApplication] = []
    for grant in in_order_of_use(usable):
        amount = payment.add(grant, left[grant.grant_id])
        if amount > 0:
            applications.append(CreditApplication(grant.grant_id, grant.customer_id, period, amount, period))
    return applications


class _Payment:
    """Payments by grant and part of an invoice, while grants are added one by one."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.unpaid = [part.amount for part in parts]
        self.grants: list[CreditGrant] = []
        self.paid: dict[tuple[int, int], Decimal] = defaultdict(Decimal)
        """By grant and part."""

    def add(self, grant: CreditGrant, amount: Decimal) -> Decimal:
        """Let another grant pay as much of `amount` as it can. Returns the amount it pays."""
        self.grants.append(grant)
        newest = len(self.grants) - 1
        total = Decimal(0)
        while total < amount and (path := self._path(newest)):
            # Each grant on the path begins to pay its part; all but the first stop paying the previous part.
            step = min(
                amount - total,
                self.unpaid[path[-1][1]],
                *(self.paid[giver, part] for (_, part), (giver, _) in pairwise(path)),
            )
            for number, part in path:
                self.paid[number, part] += step
            for (_, part), (giver, _) in pairwise(path):
                self.paid[giver, part] -= step
            self.unpaid[path[-1][1]] -= step
            total += step
        return total

    def _path(self, newest: int) -> list[tuple[int, int]]:
        """A shortest way to an unpaid part: grants that each pay another part, so that the newest can pay the first one's."""
        came_from: dict[tuple[int, int], tuple[int, int] | None] = {}
        waiting: list[tuple[int, tuple[int, int] | None]] = [(newest, None)]
        seen_grants, seen_parts = {newest}, set[int]()
        while waiting:
            number, before = waiting.pop(0)
            for part in range(len(self.parts)):
                if part in seen_parts or not can_pay(self.grants[number], self.parts[part]):
                    continue
                seen_parts.add(part)
                came_from[number, part] = before
                if self.unpaid[part] > 0:
                    path: list[tuple[int, int]] = []
                    at: tuple[int, int] | None = (number, part)
                    while at is not None:
                        path.insert(0, at)
                        at = came_from[at]
                    return path
                for giver in range(len(self.grants)):
                    if giver not in seen_grants and self.paid[giver, part] > 0:
                        seen_grants.add(giver)
                        waiting.append((giver, (number, part)))
        return []


def restore_credits(
    grants: Sequence[CreditGrant],
    applied_before: Sequence[CreditApplication],
    negative_sum: Decimal,
    period: str,
    period_end: datetime,
) -> list[CreditApplication]:
    """Restore credits for a negative invoice: earlier applications, latest first, of grants that have not expired."""
    grant_by_id = {grant.grant_id: grant for grant in grants}
    place = {grant.grant_id: number for number, grant in enumerate(in_order_of_use(grants))}
    still_applied: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for earlier in applied_before:
        if earlier.grant_id in grant_by_id:
            still_applied[earlier.application_period, earlier.grant_id] += earlier.amount
    to_give = -negative_sum
    returned: list[CreditApplication] = []
    for application_period, grant_id in sorted(still_applied, key=lambda key: (key[0], place[key[1]]), reverse=True):
        grant = grant_by_id[grant_id]
        amount = min(to_give, still_applied[application_period, grant_id])
        if amount > 0 and is_unexpired(grant, period_end):
            returned.append(CreditApplication(grant_id, grant.customer_id, period, -amount, application_period))
            to_give -= amount
    return returned
