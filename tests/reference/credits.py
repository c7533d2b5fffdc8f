"""Credit grants: what an invoice uses of them, and what a negative one gives back. Billing rules, section 6."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from .customers import Customer
from .records import CreditApplication, CreditGrant, Line, LineType

NEVER = datetime.max.replace(tzinfo=UTC)


def signup_grant(customer: Customer) -> CreditGrant | None:
    """Once, ever, at its first event or first subscription record; None where the plan has none to give."""
    amount = customer.signup_credit()
    if not amount or customer.first_seen_at is None:
        return None
    return CreditGrant(
        grant_id=f"signup-{customer.customer_id}",
        customer_id=customer.customer_id,
        amount=amount,
        currency=customer.currency,
        granted_at=customer.first_seen_at,
    )


def in_order_of_use(grants: Iterable[CreditGrant]) -> list[CreditGrant]:
    """By priority, then earliest expiry, then earliest grant, then id."""
    return sorted(grants, key=lambda grant: (grant.priority, grant.expires_at or NEVER, grant.granted_at, grant.grant_id))


def is_unexpired(grant: CreditGrant, period_end: datetime) -> bool:
    return grant.expires_at is None or grant.expires_at > period_end


def apply_credits(
    grants: Sequence[CreditGrant],
    applied_before: Sequence[CreditApplication],
    lines: list[Line],
    period: str,
    period_end: datetime,
) -> list[CreditApplication]:
    """What one customer's grants pay of one invoice.

    Never more than a grant has left, nor more than the lines in its scope that no other grant has paid.
    """
    left = {grant.grant_id: grant.amount for grant in grants}
    for earlier in applied_before:
        if earlier.grant_id in left:
            left[earlier.grant_id] -= earlier.amount
    unpaid_usage = sum((line.amount for line in lines if line.line_type is LineType.USAGE), Decimal(0))
    unpaid = sum((line.amount for line in lines), Decimal(0))
    applications: list[CreditApplication] = []
    usable = [grant for grant in grants if grant.granted_at < period_end and is_unexpired(grant, period_end)]
    for grant in in_order_of_use(usable):
        eligible = min(unpaid_usage, unpaid) if grant.scope == "usage" else unpaid
        amount = min(left[grant.grant_id], eligible)
        if amount > 0:
            applications.append(CreditApplication(grant.grant_id, grant.customer_id, period, amount, period))
            unpaid -= amount
            if grant.scope == "usage":
                unpaid_usage -= amount
    return applications


def give_back(
    grants: Sequence[CreditGrant],
    applied_before: Sequence[CreditApplication],
    negative_sum: Decimal,
    period: str,
    period_end: datetime,
) -> list[CreditApplication]:
    """What a negative invoice gives back: earlier applications, latest first, to grants that have not expired."""
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
