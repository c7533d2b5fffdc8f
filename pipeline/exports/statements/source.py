"""Reads what the statements of a period show from the report tables, grouped by invoice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from pipeline.core.periods import BillingPeriod
from pipeline.core.sql import rows_as_dictionaries
from pipeline.exports.meter_names import meter_names
from pipeline.pricebook.price_book import minor_unit_digits

Row = dict[str, Any]

# Stripe sets the due date when it finalizes an invoice; a draft in Stripe and a voided invoice are not to be paid.
_INVOICES = """
    select invoices.*, customers.language, payable.due_at
    from invoices
    left join customers using (customer_id)
    left join (select invoice_id, due_at from receivables where status not in ('draft', 'void')) as payable
        on invoices.invoice_id = payable.invoice_id
    where
        invoices.period = $period
        and ($customer is null or invoices.customer_id = $customer)
        and ($invoice is null or invoices.invoice_id = $invoice)
    order by invoices.invoice_id"""
_OF_CUSTOMER = "($customer is null or customer_id = $customer)"
_EARLIER_INVOICES = f"select * from invoices where period = $earlier and {_OF_CUSTOMER}"
_LINES = f"select * from invoice_lines where period = $period and {_OF_CUSTOMER} order by invoice_id, line_number"
_EARLIER_LINES = f"select * from invoice_lines where period = $earlier and {_OF_CUSTOMER} order by invoice_id, line_number"
_DAYS = f"""
    select invoice_id, usage_date, meter_id, unit, sum(quantity) as quantity, sum(amount) as amount
    from billed_usage_daily where period = $period and {_OF_CUSTOMER}
    group by all order by all"""
_APPLICATIONS = f"""
    select invoice_id, source, grant_id, sum(amount) as amount
    from credit_applications where period = $period and {_OF_CUSTOMER} group by all order by all"""
_SUBSCRIPTIONS = f"""
    select customer_id, plan_id, starts_at, ends_at from subscriptions where not is_trial and {_OF_CUSTOMER} order by all"""
# Of each grant that had credit in the month: sums to the month's end, so that granted - used - expired = left.
_CREDITS = f"""
    select
        ledger.customer_id || chr(31) || ledger.currency as account, ledger.source, ledger.grant_id,
        grants.expires_at, grants.scope,
        coalesce(sum(ledger.applied_amount) filter (where ledger.period = $period), 0) as used_this_month,
        sum(ledger.granted_amount) as granted, sum(ledger.applied_amount) as used, sum(ledger.expired_amount) as expired,
        max(case when ledger.period = $period then ledger.closing_amount end) as left_amount
    from credit_ledger as ledger
    left join (
        select grant_id, any_value(expires_at) as expires_at, any_value(scope) as scope from credit_grants group by grant_id
    ) as grants
        on ledger.grant_id = grants.grant_id
    where ledger.period <= $period and {_OF_CUSTOMER}
    group by all
    having max(
        case
            when ledger.period = $period
                then
                    abs(ledger.opening_amount) + abs(ledger.granted_amount) + abs(ledger.applied_amount)
                    + abs(ledger.closing_amount)
            else 0
        end
    ) > 0
    order by all"""


@dataclass(frozen=True)
class StatementSource:
    """The rows of one invoice's statement."""

    invoice: Row
    lines: list[Row]
    days: list[Row]
    """One per day and meter."""
    applications: list[Row]
    credits: list[Row]
    """The customer's grants in the invoice's currency that had credit in the month."""
    earlier_invoice: Row | None
    """The invoice of the month before, in the same currency."""
    earlier_lines: list[Row]


class StatementTables:
    """The report tables of one period: of all invoices, of one customer's, or of one invoice."""

    def __init__(
        self,
        reports: duckdb.DuckDBPyConnection,
        period: BillingPeriod,
        *,
        customer_id: str | None = None,
        invoice_id: str | None = None,
    ) -> None:
        self._reports = reports
        self._parameters = {
            "period": str(period),
            "earlier": str(period.previous()),
            "customer": customer_id,
            "invoice": invoice_id,
        }
        self.plan_names = {
            row["plan_id"]: row["plan_name"]
            for row in self._rows("select plan_id, max(plan_name) as plan_name from plans group by plan_id")
        }
        self.rates = {row["rate_id"]: row for row in self._rows("select * from rates")}
        self.tiers: dict[str, list[Row]] = defaultdict(list)
        for row in self._rows("select * from rate_tiers order by rate_id, above_quantity"):
            self.tiers[row["rate_id"]].append(row)
        self.subscriptions: dict[tuple[str, str], list[Row]] = defaultdict(list)
        """By customer and plan, without trials."""
        for row in self._rows(_SUBSCRIPTIONS):
            self.subscriptions[row["customer_id"], row["plan_id"]].append(row)
        self.minor_unit_digits = dict(minor_unit_digits())
        self.meter_names = meter_names()
        """By meter, in the order of invoices."""

    @property
    def prices(self) -> dict[str, object]:
        """By rate, what it charges: equal for rates with equal prices."""
        return {
            id: (
                rate["charge_model"],
                rate["unit_amount"],
                rate["package_size"],
                tuple((tier["above_quantity"], tier["unit_amount"], tier["flat_amount"]) for tier in self.tiers[id]),
            )
            for id, rate in self.rates.items()
        }

    def statements(self) -> list[StatementSource]:
        """Every selected invoice of the period with its rows, by id."""
        lines, days, applications = (self._by(sql, "invoice_id") for sql in (_LINES, _DAYS, _APPLICATIONS))
        credits, earlier_lines = self._by(_CREDITS, "account"), self._by(_EARLIER_LINES, "invoice_id")
        earlier = {(row["customer_id"], row["currency"]): row for row in self._rows(_EARLIER_INVOICES)}
        found = []
        for invoice in self._rows(_INVOICES):
            id, account = invoice["invoice_id"], (invoice["customer_id"], invoice["currency"])
            before = earlier.get(account)
            found.append(
                StatementSource(
                    invoice,
                    lines[id],
                    days[id],
                    applications[id],
                    credits["\x1f".join(account)],
                    before,
                    earlier_lines[before["invoice_id"]] if before else [],
                )
            )
        return found

    def _rows(self, sql: str) -> Iterator[Row]:
        used = {name: value for name, value in self._parameters.items() if f"${name}" in sql}
        found = self._reports.execute(sql, used)
        return iter(rows_as_dictionaries(found))

    def _by(self, sql: str, key: str) -> dict[str, list[Row]]:
        grouped: dict[str, list[Row]] = defaultdict(list)
        for row in self._rows(sql):
            grouped[row[key]].append(row)
        return grouped
