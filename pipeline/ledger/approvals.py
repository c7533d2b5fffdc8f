"""Approvals: who approved which closed invoice for publishing, when and why. Billing rules, section 7.

    ledger/approvals/<instant>-<id>.parquet    one file for each decision, never changed; an invoice's latest decision counts

An automatic approval is recorded the same way, with the rule in place of a name.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.decisions import AUTOMATIC, checked_by, checked_why
from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings
from pipeline.ledger.closed_invoices import Row, closed_invoice_rows
from pipeline.store.append import append_files, finish_interrupted
from pipeline.store.approvals import APPROVALS, approved_invoices
from pipeline.store.closes import closed_periods


@dataclass
class ApprovalResult:
    """The decisions of one call, and the month's invoices without approval."""

    period: BillingPeriod
    decided_by: str
    approved: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    waiting: list[Row] = field(default_factory=list)
    """Invoices without approval, as closed."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "period": str(self.period),
            "decided_by": self.decided_by,
            "approved": self.approved,
            "revoked": self.revoked,
            "waiting": [row["invoice_id"] for row in self.waiting],
        }


def approve(
    home: Home,
    period: BillingPeriod,
    invoice_ids: Sequence[str] = (),
    *,
    everything: bool = False,
    revoke: bool = False,
    by: str,
    why: str = "",
    published: frozenset[str] = frozenset(),
) -> ApprovalResult:
    """Approve these invoices of a closed month, or with `everything` all of them, or with `revoke` revoke their approval.

    With neither ids nor `everything`, only list what waits for approval. Repeating a decision writes nothing. `why`: the
    reason, stored with the decision. `published`: invoices that are in Stripe, whose approval cannot be revoked. Raises
    BillhouseError for a month that is not closed, and for an id that is not a collected invoice of it; WrongUsageError for a
    `by` or `why` that is too long or has characters that cannot be displayed, since the ledger is never changed.
    """
    by, why = checked_by(by), checked_why(why)
    finish_interrupted(home)
    collected = _collected(home, period)
    unknown = sorted(set(invoice_ids) - collected.keys())
    if unknown:
        raise BillhouseError(f"{unknown[0]} is not a collected invoice of {period}.", f"List them: billhouse invoices {period}")
    with home.writing():
        approved = approved_invoices(home)
        chosen = [id for id in collected if everything or id in invoice_ids]
        changed = [id for id in chosen if (id in approved) == revoke]
        in_stripe = [id for id in changed if id in published]
        if revoke and in_stripe and not everything:
            raise BillhouseError(
                f"{in_stripe[0]} is already in Stripe: its approval cannot be revoked.",
                "Correct it with a credit note: billhouse credit-note --help",
            )
        changed = [id for id in changed if not (revoke and id in published)]
        _record(home, period, changed, is_approved=not revoke, by=by, why=why)
    result = ApprovalResult(period, by)
    (result.revoked if revoke else result.approved).extend(changed)
    now_approved = (approved - set(changed)) if revoke else (approved | set(changed))
    result.waiting = [row for id, row in collected.items() if id not in now_approved]
    return result


def approve_automatically(home: Home, period: BillingPeriod) -> list[str]:
    """Approve invoices whose total is below their currency's amount in BILLHOUSE_AUTO_APPROVE_UNDER; return their ids.

    An invoice that has a decision already is left alone.
    """
    limits: dict[str, Decimal] = Settings.load().auto_approve_under
    if not limits:
        return []
    with home.writing():
        finish_interrupted(home)
        decided = {row["invoice_id"] for row in APPROVALS.read(home).to_pylist()}
        approved: list[str] = []
        for currency, limit in sorted(limits.items()):
            chosen = [
                id
                for id, row in _collected(home, period).items()
                if row["currency"] == currency and row["total_amount"] < limit and id not in decided
            ]
            _record(home, period, chosen, is_approved=True, by=f"{AUTOMATIC} under {limit} {currency}")
            approved += chosen
    return approved


def _collected(home: Home, period: BillingPeriod) -> dict[str, Row]:
    if period not in closed_periods(home):
        raise BillhouseError(f"{period} is not closed: only closed invoices can be approved.", f"billhouse close {period}")
    return {row["invoice_id"]: row for row in closed_invoice_rows(home, period) if row["collection"] != "none"}


def _record(home: Home, period: BillingPeriod, invoice_ids: Sequence[str], *, is_approved: bool, by: str, why: str = "") -> None:
    if not invoice_ids:
        return
    now = datetime.now(UTC)
    rows = [
        {
            "invoice_id": id,
            "period": str(period),
            "is_approved": is_approved,
            "decided_by": by,
            "decided_at": now,
            "reason": why or None,
        }
        for id in invoice_ids
    ]
    with append_files(home, "approve" if is_approved else "approve --revoke") as files:
        target = APPROVALS.path(home) / f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=APPROVALS.schema), files.file(target))
