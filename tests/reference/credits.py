"""Credit grants and what a close applies of them. Billing rules, section 6.

The sign-up grant is the only source so far; `apply_credits` already takes grants of any kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from .customers import Customer
from .records import CreditApplication, CreditGrant, Line, LineType

NEVER = datetime.max.replace(tzinfo=UTC)


def signup_grant(customer: Customer) -> CreditGrant | None:
    """Once, ever, at its first event or first subscription record; None where the plan has none to give."""
    amount = customer.signup_credit()
    if not amount:
        return None
    return CreditGrant(
        grant_id=f"signup-{customer.customer_id}",
        customer_id=customer.customer_id,
        amount=amount,
        currency=customer.currency,
        granted_at=customer.since,
    )


def apply_credits(
    grants: Sequence[CreditGrant],
    applied_before: Sequence[CreditApplication],
    lines: list[Line],
    period: str,
    period_end: datetime,
) -> list[CreditApplication]:
    """What one customer's grants pay of one invoice.

    By priority, then earliest expiry, then earliest grant, then id; never more than a grant has left, nor more than the
    lines in its scope that no other grant has paid.
    """
    left = {grant.grant_id: grant.amount for grant in grants}
    for earlier in applied_before:
        left[earlier.grant_id] -= earlier.amount
    unpaid_usage = sum((line.amount for line in lines if line.line_type is LineType.USAGE), Decimal(0))
    unpaid = sum((line.amount for line in lines), Decimal(0))
    applications: list[CreditApplication] = []
    usable = [
        grant for grant in grants if grant.granted_at < period_end and (grant.expires_at is None or grant.expires_at > period_end)
    ]
    for grant in sorted(usable, key=lambda g: (g.priority, g.expires_at or NEVER, g.granted_at, g.grant_id)):
        eligible = min(unpaid_usage, unpaid) if grant.scope == "usage" else unpaid
        amount = min(left[grant.grant_id], eligible)
        if amount > 0:
            applications.append(CreditApplication(grant.grant_id, grant.customer_id, period, amount))
            unpaid -= amount
            if grant.scope == "usage":
                unpaid_usage -= amount
    return applications
