"""A statement as data: every text and value as it is shown, in the customer's language. HTML and PDF show the same content."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any

from pipeline.core.languages import DEFAULT_LANGUAGE
from pipeline.core.periods import BillingPeriod
from pipeline.core.plain_text import plain_line
from pipeline.exports.statements.arithmetic import LinePrices, steps_of
from pipeline.exports.statements.changes import Difference, Effect, difference
from pipeline.exports.statements.formats import Formats, unbroken
from pipeline.exports.statements.issuer import Issuer
from pipeline.exports.statements.source import Row, StatementSource, StatementTables
from pipeline.exports.statements.texts import Texts

Content = dict[str, Any]
"""Texts, numbers, lists and dictionaries: it can be written as JSON."""
CHART_HEIGHT = 120
_ZERO = Decimal(0)
_MICROSECOND = timedelta(microseconds=1)


def statement_content(
    source: StatementSource, tables: StatementTables, period: BillingPeriod, issuer: Issuer | None = None
) -> Content:
    """The content of one invoice's statement; without an issuer, the statement names none."""
    return _Statement(source, tables, period, issuer or Issuer()).content()


class _Statement:
    def __init__(self, source: StatementSource, tables: StatementTables, period: BillingPeriod, issuer: Issuer) -> None:
        self.source = source
        self.tables = tables
        self.period = period
        self.issuer = issuer
        self.invoice = source.invoice
        self.currency: str = source.invoice["currency"]
        self.texts = Texts(source.invoice["language"] or DEFAULT_LANGUAGE)
        self.formats = Formats(self.texts)
        self.lines = [line for line in source.lines if not line["is_adjustment"]]
        # Also of the invoice's own month, where an earlier invoice has billed it, as a fee in advance.
        self.corrections = [line for line in source.lines if line["is_adjustment"]]

    def content(self) -> Content:
        invoice, texts, formats = self.invoice, self.texts, self.formats
        last = (self.period.end - timedelta(days=1)).date()
        return {
            "language": texts.language,
            "labels": texts.labels(),
            "issuer": self._issuer(),
            "title": texts.get("title", month=formats.month(self.period)),
            "customer": plain_line(invoice["customer_name"] or invoice["customer_id"]),
            "email": plain_line(invoice["customer_email"] or ""),
            "number": invoice["invoice_id"],
            "what_it_is": texts.get("what_it_is", number=invoice["invoice_id"]),
            "dates": texts.get("dates", first=formats.day(self.period.start.date()), last=formats.day(last)),
            "plan": texts.get("plan", plan=self._plan(invoice["plan_id"])) if invoice["plan_id"] else "",
            "is_draft": invoice["status"] == "draft",
            "due_label": texts.get(self._due_label()),
            "total": self._money(invoice["total_amount"]),
            "due_date": self._due_date(),
            "chart": self._chart(),
            "lines": [self._line(line) for line in self.lines],
            "corrections": [self._line(line) for line in self.corrections],
            "subtotal": self._money(invoice["subtotal_amount"]),
            "deductions": self._deductions(),
            "credits": [self._credit(row) for row in self.source.credits],
            "credit_left": self._money(sum((row["left_amount"] or _ZERO for row in self.source.credits), _ZERO)),
            "changes": self._changes(),
            "calculation": [self._calculation(line) for line in self.source.lines],
            "calculation_note": texts.get("calculation_note", currency=self.currency),
            "days": self._days(),
        }

    def _money(self, amount: Decimal) -> str:
        return self.formats.money(amount, self.currency)

    def _plan(self, plan_id: str) -> str:
        return plain_line(self.tables.plan_names.get(plan_id, plan_id))

    def _meter(self, meter_id: str) -> str:
        key = f"meter_{meter_id}"
        return self.texts.get(key) if self.texts.has(key) else plain_line(self.tables.meter_names.get(meter_id, meter_id))

    def _due_label(self) -> str:
        if not self.invoice["total_amount"]:
            return "nothing_due"
        return "not_collected" if self.invoice["collection"] == "none" else "due"

    def _issuer(self) -> Content | None:
        """None: no setting names the issuer."""
        issuer = self.issuer
        lines = list(issuer.address_lines)
        if issuer.tax_id:
            lines.append(self.texts.get("tax_id", number=issuer.tax_id))
        return {"name": issuer.name, "lines": lines} if issuer.name or lines else None

    def _due_date(self) -> str:
        """The UTC day on which payment is due, as Stripe says; '' for a draft, and as long as Stripe's answer is not mirrored."""
        due_at = self.invoice["due_at"]
        if self.invoice["status"] == "draft" or due_at is None:
            return ""
        return self.texts.get("due_date", date=self.formats.day(due_at.astimezone(UTC).date()))

    # Charges --------------------------------------------------------------------------------------------------------

    def _title(self, line: Row) -> str:
        if line["unit_amount"] is None and line["line_type"] in ("discount", "commitment"):
            # A correction of a line that is not due any more has no price.
            return self.texts.get(f"{line['line_type']}_change")
        match line["line_type"]:
            case "usage":
                return f"{self._meter(line['meter_id'])}, {self._plan(line['plan_id'])}"
            case "fee":
                return self.texts.get("fee_line", plan=self._plan(line["plan_id"]))
            case "discount":
                return self.texts.get("discount_line", percent=self.formats.percent(line["unit_amount"]))
            case "commitment":
                return self.texts.get("commitment_line", amount=self._money(line["unit_amount"]))
            case _:
                return self.texts.get("carry_forward_line")

    def _month(self, line: Row) -> str:
        """The month of a line that is not for the invoice's own month."""
        other = line["service_period"] != self.invoice["period"]
        return self.formats.month(BillingPeriod.parse(line["service_period"])) if other else ""

    def _line(self, line: Row) -> Content:
        quantity = exact = ""
        if line["line_type"] in ("usage", "fee"):
            quantity = self.formats.quantity(line["quantity"], line["unit"])
            exact = self.formats.exact(line["quantity"], line["unit"])
        return {
            "title": self._title(line),
            "month": self._month(line),
            "dates": self._fee_dates(line),
            "quantity": quantity,
            "exact": exact if exact != quantity else "",
            "amount": self._money(line["amount"]),
        }

    def _fee_dates(self, line: Row) -> str:
        """The days of a fee: of the whole month, or of the one time on the plan that has its seconds exactly; else unknown."""
        if line["line_type"] != "fee" or line["is_adjustment"]:
            return ""
        month = BillingPeriod.parse(line["service_period"])
        times = [(month.start, month.end)]
        rows = self.tables.subscriptions[line["customer_id"], line["plan_id"]]
        within = [(max(row["starts_at"], month.start), min(row["ends_at"] or month.end, month.end)) for row in rows]
        within = [(start, end) for start, end in within if start < end]
        if len(within) == 1:
            times += within
        for start, end in times:
            if Decimal((end - start) // _MICROSECOND) == line["quantity"] * 1_000_000:
                first, last = (self.formats.day_and_year(day.astimezone(UTC).date()) for day in (start, end - _MICROSECOND))
                return self.texts.get("from_to", first=first, last=last)
        return ""

    def _calculation(self, line: Row) -> Content:
        base = sum(
            (
                other["amount"]
                for other in self.lines
                if other["line_type"] in ("usage", "fee") and other["service_period"] == line["service_period"]
            ),
            _ZERO,
        )
        rate_id = line["rate_id"]
        prices = LinePrices(
            self.tables.rates.get(rate_id),
            self.tables.tiers.get(rate_id, []),
            base,
            self._plan(line["plan_id"]),
            self.tables.minor_unit_digits.get(self.currency, 2),
        )
        steps = [step.text for step in steps_of(line, prices, self.formats)]
        return {"title": self._title(line), "month": self._month(line), "steps": steps, "amount": self._money(line["amount"])}

    # Total and credit -----------------------------------------------------------------------------------------------

    def _deductions(self) -> list[Content]:
        rows = []
        for credit in self.source.applications:
            kind = "credit_line" if credit["amount"] >= 0 else "credit_returned_line"
            label = self.texts.get(kind, source=self._source(credit["source"]))
            rows.append({"label": label, "note": "", "amount": self._money(-credit["amount"])})
        if carried := self.invoice["carried_forward_amount"]:
            rows.append({"label": self.texts.get("carried_forward"), "note": "", "amount": self._money(-carried)})
        return rows

    def _source(self, source: str) -> str:
        return self.texts.get(source) if self.texts.has(source) else plain_line(source)

    def _credit(self, row: Row) -> Content:
        source = self._source(row["source"])
        expires = row["expires_at"]
        notes = [self.texts.get("granted", amount=self._money(row["granted"]))]
        if row["scope"] == "usage":
            notes.append(self.texts.get("usage_only"))
        notes.append(
            self.texts.get("expires", date=self.formats.day(expires.date())) if expires else self.texts.get("never_expires")
        )
        return {
            "label": source[:1].upper() + source[1:],
            "note": ", ".join(notes),
            "used_this_month": self._money(row["used_this_month"]),
            "used_in_total": self._money(row["used"]),
            "expired": self._money(row["expired"]) if row["expired"] else "",
            "left": self._money(row["left_amount"] or _ZERO),
        }

    # What changed ---------------------------------------------------------------------------------------------------

    def _changes(self) -> Content:
        month = self.formats.month(self.period.previous())
        before = self.source.earlier_invoice
        content: Content = {
            "title": self.texts.get("changes", month=month),
            "note": self.texts.get("no_earlier_invoice", month=month),
            "before": None,
            "after": None,
            "rows": [],
        }
        if before is None:
            return content
        compared = difference(
            before, self.source.earlier_lines, self.invoice, self.source.lines, self.tables.prices, self._digits
        )
        content["note"] = "" if compared.effects else self.texts.get("no_changes")
        content["before"] = {"label": self.texts.get("total_of", month=month), "amount": self._money(compared.total_before)}
        content["after"] = {
            "label": self.texts.get("total_of", month=self.formats.month(self.period)),
            "amount": self._money(compared.total_after),
        }
        content["rows"] = [self._change(effect) for effect in _largest_first(compared)]
        return content

    @property
    def _digits(self) -> int:
        return self.tables.minor_unit_digits.get(self.currency, 2)

    def _change(self, effect: Effect) -> Content:
        is_more = effect.after >= effect.before
        if effect.meter_id is None:
            label = self.texts.get(f"{effect.kind}_change")
            detail = self.texts.get("used_change", before=self._money(effect.before), after=self._money(effect.after))
        elif effect.kind == "quantity":
            label = self.texts.get("more_used" if is_more else "less_used", meter=self._meter(effect.meter_id))
            before, after = (unbroken(self.formats.quantity(number, effect.unit)) for number in (effect.before, effect.after))
            detail = self.texts.get("used_change", before=before, after=after)
        else:
            label = self.texts.get("price_up" if is_more else "price_down", meter=self._meter(effect.meter_id))
            (before, unit), (after, _) = (
                self.formats.people_price(price, effect.unit, self.currency) for price in (effect.before, effect.after)
            )
            detail = self.texts.get("average_price_change", before=before, after=after, unit=unit)
        return {"label": label, "detail": detail, "amount": self.formats.signed_money(effect.amount, self.currency)}

    # Usage by day ---------------------------------------------------------------------------------------------------

    def _chart(self) -> Content | None:
        """A bar for each day of the month, with its height; None without usage. Corrected days of earlier months are left out."""
        sums: dict[date, Decimal] = defaultdict(Decimal)
        for row in self.source.days:
            sums[row["usage_date"]] += row["amount"]
        first = self.period.start.date()
        month = [first + timedelta(days=number) for number in range((self.period.end - self.period.start).days)]
        most = max((sums.get(day, _ZERO) for day in month), default=_ZERO)
        if most <= 0:
            return None
        best = next(day for day in month if sums.get(day, _ZERO) == most)
        bars = []
        for day in month:
            amount = max(sums.get(day, _ZERO), _ZERO)
            label = f"{self.formats.short_day(day)}: {self._money(amount)}"
            bars.append({"day": day.day, "label": label, "height": int(amount * CHART_HEIGHT / most)})
        caption = self.texts.get("chart_caption", day=self.formats.short_day(best), amount=self._money(most))
        return {"bars": bars, "caption": caption, "height": CHART_HEIGHT}

    def _days(self) -> list[Content]:
        order = {meter_id: place for place, meter_id in enumerate(self.tables.meter_names)}
        days: dict[date, list[Row]] = defaultdict(list)
        for row in sorted(self.source.days, key=lambda row: (order.get(row["meter_id"], len(order)), row["meter_id"])):
            days[row["usage_date"]].append(row)
        return [
            {
                "day": self.formats.day_and_year(day),
                "quantities": [
                    f"{self._meter(row['meter_id'])} {unbroken(self.formats.hours(row['quantity'], row['unit']))}"
                    for row in rows
                    if row["quantity"]
                ],
                "amount": self._money(sum((row["amount"] for row in rows), _ZERO)),
            }
            for day, rows in sorted(days.items())
        ]


def _largest_first(compared: Difference) -> list[Effect]:
    return sorted(compared.effects, key=lambda effect: -abs(effect.amount))
