"""Approve, publish, sync and credit, as the command line and Dagster run them: each is followed by a build.

The build makes the reports show the result. A failure raises an operational alert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from pipeline.core.decisions import logged_in_user
from pipeline.core.home import Home
from pipeline.core.periods import BillingPeriod
from pipeline.core.progress import OnProgress
from pipeline.ledger.approvals import ApprovalResult, approve
from pipeline.store.alert_log import OperationalAlert, raise_alert, raise_alert_on_error
from pipeline.store.publications import published_invoices
from pipeline.stripe.credit_notes import CreditNoteResult, Settlement, issue_credit_note
from pipeline.stripe.mirror import SyncResult, sync_stripe
from pipeline.stripe.publish import publish_period
from pipeline.stripe.publish_result import PublishResult
from pipeline.warehouse.build import build
from pipeline.warehouse.build_record import is_current, last_build


def approve_and_build(
    home: Home,
    period: BillingPeriod,
    invoice_ids: Sequence[str] = (),
    *,
    everything: bool = False,
    revoke: bool = False,
    by: str | None = None,
    why: str = "",
    on_decided: Callable[[ApprovalResult], object] = lambda _: None,
    on_progress: OnProgress | None = None,
) -> ApprovalResult:
    """Approve invoices (pipeline.ledger.approvals), then build. `by`: default, the current user.

    `on_decided` gets decisions before the build, which may fail; it is not called if there are none.
    """
    result = approve(
        home,
        period,
        invoice_ids,
        everything=everything,
        revoke=revoke,
        by=logged_in_user() if by is None else by,
        why=why,
        published=published_invoices(home, is_live=None),
    )
    if result.approved or result.revoked:
        on_decided(result)
    _build_if_outdated(home, on_progress)
    return result


def publish_and_build(
    home: Home,
    period: BillingPeriod,
    *,
    dry_run: bool = False,
    allow_live: bool = False,
    on_progress: OnProgress | None = None,
) -> PublishResult:
    """Publish the month's approved invoices, then build.

    A build runs first if the last one did not finish or does not contain all landed data, so that nothing is published past a
    failed check.
    """
    subject = f"publish {period}"
    with nullcontext() if dry_run else raise_alert_on_error(home, "publish_failed", subject):
        if not dry_run:
            _build_if_outdated(home, on_progress)
        result = publish_period(home, period, dry_run=dry_run, allow_live=allow_live, on_progress=on_progress)
    if dry_run:
        return result
    if result.problems:
        text = f"{len(result.problems)} invoices of {period} were not published. First: {result.problems[0]}"
        raise_alert(home, OperationalAlert("publish_failed", subject, text))
    with raise_alert_on_error(home, "publish_failed", subject):
        _build_if_outdated(home, on_progress)
    return result


def sync_and_build(
    home: Home, *, full: bool = False, allow_live: bool = False, on_progress: OnProgress | None = None
) -> SyncResult:
    """Mirror what changed in Stripe, then build."""
    with raise_alert_on_error(home, "sync_failed", "sync-stripe"):
        result = sync_stripe(home, full=full, allow_live=allow_live, on_progress=on_progress)
        _build_if_outdated(home, on_progress)
    return result


def credit_and_build(
    home: Home,
    invoice_id: str,
    *,
    by: str | None = None,
    memo: str = "",
    settlement: Settlement = "balance",
    allow_live: bool = False,
    on_progress: OnProgress | None = None,
) -> CreditNoteResult:
    """Issue a credit note (pipeline.stripe.credit_notes), then build, so that the drafts no longer contain the correction."""
    by = by or logged_in_user()
    with raise_alert_on_error(home, "credit_note_failed", f"credit-note {invoice_id}"):
        result = issue_credit_note(home, invoice_id, by=by, memo=memo, settlement=settlement, allow_live=allow_live)
        _build_if_outdated(home, on_progress)
    return result


def _build_if_outdated(home: Home, on_progress: OnProgress | None) -> None:
    record = last_build(home)
    if record is not None and not is_current(home, record.as_of):
        build(home, record.as_of, on_progress=on_progress)
