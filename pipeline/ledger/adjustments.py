"""Adjustments that a close would make to closed months, and the limit above which a person has to accept them.

A late event changes a closed month by cents. A wrong price, a wrong plan or a replayed file changes it by a lot: a person should
check it first. Billing rules, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import duckdb

from pipeline.core.errors import BillhouseError
from pipeline.core.periods import BillingPeriod
from pipeline.core.settings import Settings

_SHOWN = 20


@dataclass(frozen=True)
class Adjustment:
    """The change of one customer's closed month, in one currency."""

    customer_id: str
    service_period: str
    currency: str
    billed_amount: Decimal
    adjustment_amount: Decimal

    @property
    def share(self) -> Decimal | None:
        """The change as a share of the billed amount; None where nothing was billed."""
        return abs(self.adjustment_amount) / abs(self.billed_amount) if self.billed_amount else None

    def __str__(self) -> str:
        share = "new" if self.share is None else f"{self.share:.1%}"
        return (
            f"{self.customer_id}, {self.service_period}: billed {self.billed_amount.normalize():f},"
            f" would change by {self.adjustment_amount.normalize():+f} {self.currency} ({share})"
        )


class AdjustmentsError(BillhouseError):
    """Closed months would change by more than BILLHOUSE_ADJUSTMENT_LIMIT_SHARE."""

    def __init__(self, adjustments: list[Adjustment], period: BillingPeriod, limit: Decimal) -> None:
        self.adjustments = adjustments
        listed = "\n".join(f"  {adjustment}" for adjustment in adjustments[:_SHOWN])
        more = f"\n  and {len(adjustments) - _SHOWN} more" if len(adjustments) > _SHOWN else ""
        super().__init__(
            f"{period} was not closed: it would adjust closed months by more than {limit:.0%} of the billed amount."
            f"\n{listed}{more}\n",
            f"Check its drafts (billhouse invoices {period}). If they are right: billhouse close {period} --accept-adjustments",
        )


def adjustments_of(warehouse: duckdb.DuckDBPyConnection, period: BillingPeriod) -> list[Adjustment]:
    """The adjustments on the month's drafts by customer, closed month and currency, the largest first."""
    rows = warehouse.execute(
        """
        with billed as (
            select customer_id, service_period, currency, sum(amount) as amount
            from staging.stg_billed_lines where line_type <> 'carry_forward' group by all
        ),
        adjustments as (
            select customer_id, service_period, currency, sum(amount) as amount
            from invoicing.unbilled_lines
            where period = $period and service_period <= (select closed_through_period from invoicing.open_period)
            group by all
        )
        select adjustments.customer_id, adjustments.service_period, adjustments.currency, coalesce(billed.amount, 0),
            adjustments.amount
        from adjustments left join billed using (customer_id, service_period, currency)
        where adjustments.amount <> 0
        order by abs(adjustments.amount) desc, adjustments.customer_id, adjustments.service_period, adjustments.currency""",
        {"period": str(period)},
    ).fetchall()
    return [Adjustment(*row) for row in rows]


def drafted_adjustments(
    reports: duckdb.DuckDBPyConnection, period: BillingPeriod, closed_through: BillingPeriod
) -> list[Adjustment]:
    """The same, read from the report tables, which a reader may open during a build. `closed_through`: the last closed month."""
    rows = reports.execute(
        """
        with lines as (
            select invoice_lines.*, invoices.status = 'draft' as is_draft
            from invoice_lines inner join invoices using (invoice_id)
            where line_type <> 'carry_forward'
        ),
        billed as (
            select customer_id, service_period, currency, sum(amount) as amount from lines where not is_draft group by all
        ),
        adjustments as (
            select customer_id, service_period, currency, sum(amount) as amount
            from lines where is_draft and period = $period and service_period <= $closed_through group by all
        )
        select adjustments.customer_id, adjustments.service_period, adjustments.currency, coalesce(billed.amount, 0),
            adjustments.amount
        from adjustments left join billed using (customer_id, service_period, currency)
        where adjustments.amount <> 0
        order by abs(adjustments.amount) desc, adjustments.customer_id, adjustments.service_period, adjustments.currency""",
        {"period": str(period), "closed_through": str(closed_through)},
    ).fetchall()
    return [Adjustment(*row) for row in rows]


def billed_by_month(lines: duckdb.DuckDBPyConnection, table: str) -> dict[tuple[str, str], Decimal]:
    """The billed amount by service month and currency. `table`: closed invoices' lines, as SQL."""
    return {
        (service_period, currency): amount
        for service_period, currency, amount in lines.execute(
            f"select service_period, currency, sum(amount) from {table} where line_type <> 'carry_forward' group by all"
        ).fetchall()
    }


def large_adjustments(adjustments: list[Adjustment], billed: dict[tuple[str, str], Decimal], limit: Decimal) -> list[Adjustment]:
    """The adjustments that a person has to accept: of a customer's closed month, or of all of a closed month, above the limit."""
    large = [one for one in adjustments if one.share is None or one.share > limit]
    for month in {(one.service_period, one.currency) for one in adjustments}:
        of_month = [one for one in adjustments if (one.service_period, one.currency) == month]
        moved = sum((abs(one.adjustment_amount) for one in of_month), Decimal(0))
        if moved > limit * abs(billed.get(month, Decimal(0))):
            large += [one for one in of_month if one not in large]
    return large


def refuse_large_adjustments(warehouse: duckdb.DuckDBPyConnection, period: BillingPeriod) -> None:
    """Raise AdjustmentsError where a customer's closed month, or all of a closed month, would change by more than the limit."""
    limit = Settings.load().adjustment_limit_share
    billed = billed_by_month(warehouse, "staging.stg_billed_lines")
    if large := large_adjustments(adjustments_of(warehouse, period), billed, limit):
        raise AdjustmentsError(large, period, limit)
