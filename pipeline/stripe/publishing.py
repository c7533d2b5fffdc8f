"""Approves, publishes, corrects and mirrors, and shows it in the reports."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from contextlib import nullcontext

from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.ledger.approvals import ApprovalResult, approve
from pipeline.store.alert_log import OperationalAlert, raise_alert, raise_alert_on_error
from pipeline.store.publications import published_invoices
from pipeline.stripe.credit_notes import CreditNoteResult, Settlement, issue_credit_note
from pipeline.stripe.mirror import SyncResult, sync_stripe
from pipeline.stripe.publish import PublishResult, publish_period
from pipeline.warehouse.build import build, is_current, last_build


def approve_and_refresh(
    home: Home,
    period: BillingPeriod,
    invoice_ids: Sequence[str] = (),
    *,
    everything: bool = False,
    revoke: bool = False,
    by: str | None = None,
    on_progress: OnProgress | None = None,
) -> ApprovalResult:
    """Approve invoices (pipeline.ledger.approvals), then build, so that the reports show it. `by`: default, the current user."""
    result = approve(
        home,
        period,
        invoice_ids,
        everything=everything,
        revoke=revoke,
        by=by or getpass.getuser(),
        published=published_invoices(home, is_live=None),
    )
    _refresh(home, on_progress)
    return result


def publish_and_refresh(
    home: Home,
    period: BillingPeriod,
    *,
    dry_run: bool = False,
    allow_live: bool = False,
    on_progress: OnProgress | None = None,
) -> PublishResult:
    """Publish the month's approved invoices, then build again so that the reports show them as published.

    Nothing is published past a failed check: where the standing build is not of what has landed, or did not finish, it is
    made first. What goes wrong is kept as an alert.
    """
    what = f"publish {period}"
    with nullcontext() if dry_run else raise_alert_on_error(home, "publish_failed", what):
        if not dry_run:
            _refresh(home, on_progress)
        result = publish_period(home, period, dry_run=dry_run, allow_live=allow_live, on_progress=on_progress)
    if dry_run:
        return result
    if result.problems:
        text = f"{len(result.problems)} invoices of {period} were not published. First: {result.problems[0]}"
        raise_alert(home, OperationalAlert("publish_failed", what, text))
    with raise_alert_on_error(home, "publish_failed", what):
        _refresh(home, on_progress)
    return result


def sync_and_refresh(
    home: Home, *, full: bool = False, allow_live: bool = False, on_progress: OnProgress | None = None
) -> SyncResult:
    """Mirror what changed in Stripe, then build again so that the reports show it. What goes wrong is kept as an alert."""
    with raise_alert_on_error(home, "sync_failed", "sync-stripe"):
        result = sync_stripe(home, full=full, allow_live=allow_live, on_progress=on_progress)
        _refresh(home, on_progress)
    return result


def credit_and_refresh(
    home: Home,
    invoice_id: str,
    *,
    by: str | None = None,
    memo: str = "",
    settlement: Settlement = "balance",
    allow_live: bool = False,
    on_progress: OnProgress | None = None,
) -> CreditNoteResult:
    """Issue a credit note (see pipeline.stripe.credit_notes), then build again so that the drafts correct it no more.

    What goes wrong is kept as an alert.
    """
    with raise_alert_on_error(home, "credit_note_failed", f"credit-note {invoice_id}"):
        result = issue_credit_note(
            home, invoice_id, by=by or getpass.getuser(), memo=memo, settlement=settlement, allow_live=allow_live
        )
        _refresh(home, on_progress)
    return result


def _refresh(home: Home, on_progress: OnProgress | None) -> None:
    record = last_build(home)
    if record is not None and not is_current(home, record.as_of):
        build(home, record.as_of, on_progress=on_progress)
